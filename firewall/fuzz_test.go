package firewall

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/plugins"
)

// What iptables-save prints is other tools' text too.
func FuzzParseSaved(f *testing.F) {
	f.Add("*nat\n:BERTH-PORTS - [0:0]\n-A BERTH-PORTS -p tcp -m comment --comment \"berth:br1:10.1.0.2:port:80/tcp\" -m tcp --dport 80 -j DNAT\nCOMMIT\n")
	f.Add("-A BERTH- -m comment --comment \"berth:\n-A FORWARD -j\n*\n-A")
	f.Fuzz(func(t *testing.T, text string) {
		rules, jumps := parseSaved(text)
		for _, r := range rules {
			if !strings.HasPrefix(r.chain, "BERTH-") || strings.Contains(r.line(), "\n") {
				t.Errorf("%+v", r)
			}
		}
		checkJumps(jumps, rules, true)
	})
}

// The kernel's entries are read by offsets that they contain.
func FuzzLegacyEntries(f *testing.F) {
	f.Add(make([]byte, 200), uint16(0))
	f.Fuzz(func(t *testing.T, entries []byte, offset uint16) {
		for _, x := range xtablesOf {
			table := &legacyTable{xtables: x, entries: entries}
			table.chains[unix.NF_INET_FORWARD] = uint32(offset)
			table.isDeadEnd(unix.NF_INET_FORWARD, false)
			table.isDeadEnd(unix.NF_INET_FORWARD, true)
			table.passes(throughBridge("br1"))
		}
	})
}

// What is not refused has elements and rules, in both families.
func FuzzMapping(f *testing.F) {
	f.Add("tcp", uint16(80), uint16(8080), uint16(1), []byte{192, 0, 2, 1})
	f.Add("sctp", uint16(65535), uint16(65535), uint16(65535), []byte{})
	n := &Network{Bridge: "br1"}
	f.Fuzz(func(t *testing.T, protocol string, host, container, count uint16, ip []byte) {
		m := plugins.PortMapping{Protocol: protocol, HostPort: host, ContainerPort: container, Count: count % 512}
		m.HostIP, _ = netip.AddrFromSlice(ip)
		if ValidateMapping(&m) != nil {
			return
		}
		e := &Endpoint{Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd10:1::2")}, Ports: []plugins.PortMapping{m}, Strict: true}
		for _, el := range endpointElements(n, e) {
			if el.set.interval && string(el.key) > string(el.end) {
				t.Errorf("%+v: the interval of %s is empty", m, el.set.name)
			}
		}
		rules := 0
		for _, is4 := range []bool{true, false} {
			for _, r := range endpointRules(n, e, is4) {
				if r.chain == "BERTH-PORTS" || r.chain == "BERTH-ADDRPORTS" {
					rules++
				}
			}
		}
		if rules == 0 {
			t.Errorf("%+v: no rule", m)
		}
	})
}
