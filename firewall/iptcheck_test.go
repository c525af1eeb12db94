package firewall

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// Every rule that Add has made is missed, and no other.
func TestIPTablesCheckMissesEachRule(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	h.Run("ip", "link", "add", "port0", "type", "veth", "peer", "name", "port1")
	n := &Network{Bridge: "br1", Internal: true, Isolated: true, Hidden: true, NoICC: true}
	e := &Endpoint{
		Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd10:1::2")}, Masquerade: true, Strict: true,
		Ports: []plugins.PortMapping{
			{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
			{HostPort: 9000, ContainerPort: 70, Count: 9, Protocol: "udp"},
			{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 53, ContainerPort: 53, Protocol: "udp"},
		},
		Port: "port0", MAC: []byte{2, 0, 0, 0, 0, 1},
	}
	fw := IPTables{}
	other := &Network{Bridge: "br2"}
	if err := h.Do(func() error {
		return errors.Join(fw.Add(other, &Endpoint{Addresses: e.Addresses[:1]}), fw.Add(n, e), fw.Check(n, e))
	}); err != nil {
		t.Fatal(err)
	}
	for _, is4 := range []bool{true, false} {
		text := h.Run(fw.command(is4, "-save"))
		if err := checkSaved(text, n, e, is4); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "-A ") || !strings.Contains(line, "BERTH-") {
				continue
			}
			err, ours := checkSaved(strings.Replace(text, line, "", 1), n, e, is4), !strings.Contains(line, "berth:br2:")
			if ours != errors.Is(err, ErrMissing) {
				t.Errorf("without %s%v", line, err)
			}
		}
	}
}
