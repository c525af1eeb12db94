package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	wire "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/dns"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/state"
)

// The host on which names are asked: its resolver is at a gateway's address,
// berth's where containers have it, and the asker has the address of one of
// the containers, by which aardvark-dns knows who it is.
const (
	namesN       = 100 // containers on the network
	namesGateway = "10.9.0.1"
	namesAsker   = "10.9.0.2"
	namesWorld   = "192.0.2.53" // the nameserver of every other name
	namesDir     = "/run/names"
	aardvark     = "/usr/lib/podman/aardvark-dns"

	namesTurns    = 3
	manyAtOnce    = 100
	distinctNames = 100000 // asked of the world, so that none is asked twice soon
)

const namesHost = "; ip address add " + namesGateway + "/16 dev lo; ip address add fd09::1/64 dev lo nodad" +
	"; ip address add " + namesAsker + "/16 dev lo; ip address add " + namesWorld + "/32 dev lo" +
	"; mkdir -p " + namesDir + "/net /run/etc/up /run/etc/work" +
	"; mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc/up,workdir=/run/etc/work /etc" +
	"; rm -f /etc/resolv.conf; echo nameserver " + namesWorld + " >/etc/resolv.conf"

var nameservers = []struct{ label, what string }{
	{"dns-berth", "berth"}, {"dns-aardvark", "aardvark-dns"}, {"dns-dnsmasq", "dnsmasq"},
}

// nameKinds are what is asked: how the question for container i reads.
var nameKinds = []struct {
	name, what string
	query      func(i int) string
}{
	{"a", "A of a container", func(i int) string { return fmt.Sprintf("c%d A", i%namesN) }},
	{"aaaa", "AAAA of a container", func(i int) string { return fmt.Sprintf("c%d AAAA", i%namesN) }},
	{"ptr", "PTR of a container", func(i int) string {
		name, _ := wire.ReverseAddr(nameAddress(i % namesN).String())
		return name + " PTR"
	}},
	{"world", "A of another name, from upstream", func(i int) string { return fmt.Sprintf("n%d.world.example A", i) }},
}

func nameAddress(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 9, 0, byte(2 + i)})
}

func nameAddress6(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd09::%x", 2+i)) }

// startNames starts the nameserver of the world and the contender on this
// host, and writes the questions.
func startNames(name string) error {
	for _, kind := range nameKinds {
		n := namesN
		if kind.name == "world" {
			n = distinctNames
		}
		var b strings.Builder
		for i := range n {
			b.WriteString(kind.query(i) + "\n")
		}
		if err := os.WriteFile(namesDir+"/"+kind.name, []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	if err := startNamesChild("world"); err != nil {
		return err
	}
	var err error
	switch name {
	case "dns-berth":
		err = startNamesChild("berth")
	case "dns-aardvark":
		err = startAardvark()
	case "dns-dnsmasq":
		err = startDnsmasq()
	}
	return errors.Join(err, answersSoon(resolverOf(name)))
}

// startBeside starts a program in a PID namespace whose first process, a
// shell, dies with this one: a daemon that forks, or changes its user and so
// clears its parent death signal, has no other way to die with us.
func startBeside(program string, args ...string) error {
	shell := []string{"--pid", "--fork", "--kill-child", "sh", "-c", `"$0" "$@"; sleep infinity`, program}
	cmd := exec.Command("unshare", append(shell, args...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w: install build/packages.txt", program, err)
	}
	return nil
}

func startNamesChild(which string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return startBeside(self, "names", which)
}

func startAardvark() error {
	var b strings.Builder
	b.WriteString(namesGateway + "\n")
	for i := range namesN {
		fmt.Fprintf(&b, "%064x %s %s c%d\n", i, nameAddress(i), nameAddress6(i), i)
	}
	if err := os.WriteFile(namesDir+"/net/bench", []byte(b.String()), 0o644); err != nil {
		return err
	}
	return startBeside(aardvark, "--config", namesDir+"/net", "--port", "53", "run")
}

func startDnsmasq() error {
	var b strings.Builder
	for i := range namesN {
		fmt.Fprintf(&b, "%s c%d\n%s c%d\n", nameAddress(i), i, nameAddress6(i), i)
	}
	if err := os.WriteFile(namesDir+"/hosts", []byte(b.String()), 0o644); err != nil {
		return err
	}
	return startBeside("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="+namesDir+"/pid", "--user=root",
		"--no-hosts", "--addn-hosts="+namesDir+"/hosts", "--no-resolv", "--server="+namesWorld, "--bind-interfaces",
		"--listen-address="+namesGateway, "--cache-size=0", "--dns-forward-max=1000")
}

func resolverOf(name string) string {
	if name == "dns-berth" {
		return dns.Address.Addr().String()
	}
	return namesGateway
}

// answersSoon waits until the resolver knows both kinds of names.
func answersSoon(server string) (err error) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = answers(server); err == nil {
			return nil
		}
	}
	return fmt.Errorf("wait for the resolver at %s: %w", server, err)
}

func answers(server string) error {
	client := &wire.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(namesAsker)}, Timeout: time.Second}}
	for _, name := range []string{"c1.", "n1.world.example."} {
		m, _, err := client.Exchange(new(wire.Msg).SetQuestion(name, wire.TypeA), server+":53")
		if err != nil {
			return err
		}
		if m.Rcode != wire.RcodeSuccess || len(m.Answer) == 0 {
			return fmt.Errorf("%s has the answer %s", name, wire.RcodeToString[m.Rcode])
		}
	}
	return nil
}

// serveNames is the child that serves berth's names or the world's.
func serveNames(which string) error {
	if which == "world" {
		server := &wire.Server{Addr: namesWorld + ":53", Net: "udp", Handler: wire.HandlerFunc(func(w wire.ResponseWriter, q *wire.Msg) {
			m := new(wire.Msg).SetReply(q)
			m.Authoritative = true
			m.Answer = []wire.RR{&wire.A{Hdr: wire.RR_Header{Name: q.Question[0].Name, Rrtype: wire.TypeA, Class: wire.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 80)}}
			_ = w.WriteMsg(m) // dnsperf counts what is lost
		})}
		return server.ListenAndServe()
	}
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	store := state.ForBoot("/run", "names-boot")
	if err := recordNames(store, ns); err != nil {
		return err
	}
	if _, err := dns.New(dns.Options{Store: store}).Listen(dns.Client{NetNS: ns}, dns.Address, dns.Alone); err != nil {
		return err
	}
	select {}
}

// recordNames records containers that live: their namespace is this one.
func recordNames(store *state.Store, ns *netns.Handle) error {
	id, err := ns.ID()
	if err != nil {
		return err
	}
	return store.Update(func(tx *state.Tx) error {
		for i := range namesN {
			r := &endpoint.Record{
				Key: endpoint.Key{Network: "bench", ContainerID: fmt.Sprintf("%032x", i), IfName: "eth0"}, Name: fmt.Sprintf("c%d", i),
				Driver: "bridge", Phase: endpoint.Ready, NetNS: "/proc/self/ns/net", NetNSID: id, Created: time.Unix(int64(i), 0),
				Addresses: []netip.Prefix{netip.PrefixFrom(nameAddress(i), 16), netip.PrefixFrom(nameAddress6(i), 64)},
			}
			if err := endpoint.Put(tx, r); err != nil {
				return err
			}
		}
		return nil
	})
}

var (
	perfRate  = regexp.MustCompile(`Queries per second: +([0-9.]+)`)
	perfDelay = regexp.MustCompile(`Average Latency \(s\): +([0-9.]+)`)
	perfGood  = regexp.MustCompile(`NOERROR \d+ \(100\.00%\)`)
	perfLost  = regexp.MustCompile(`Queries lost: +\d+ \(([0-9.]+)%\)`)
)

// asked is what dnsperf tells.
type asked struct {
	rate  float64 // answers a second
	delay time.Duration
	lost  float64 // of a hundred questions
}

// asks has dnsperf ask for a second, so many questions at once.
func (c *contender) asks(kind string, atOnce int) (a asked, err error) {
	args := []string{"-s", resolverOf(c.name), "-d", namesDir + "/" + kind, "-l", "1", "-q", strconv.Itoa(atOnce)}
	if c.name != "dns-berth" {
		args = append(args, "-a", namesAsker)
	}
	out, err := exec.Command("dnsperf", args...).CombinedOutput()
	if err != nil {
		return a, fmt.Errorf("dnsperf: %w: %s", err, out)
	}
	var seconds float64
	err = errors.Join(figure(perfRate, out, &a.rate), figure(perfDelay, out, &seconds), figure(perfLost, out, &a.lost))
	if err != nil || !perfGood.Match(out) {
		return a, fmt.Errorf("%s: %s: not every answer is good: %w: %s", c.name, kind, err, out)
	}
	a.delay = time.Duration(seconds * float64(time.Second))
	return a, nil
}

// figure reads the number that the pattern finds.
func figure(pattern *regexp.Regexp, text []byte, into *float64) (err error) {
	m := pattern.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("nothing matches %s", pattern)
	}
	*into, err = strconv.ParseFloat(string(m[1]), 64)
	return err
}

// names measures the resolvers in turns, one kind of question after another.
func (r *report) names(dirs directories) error {
	for _, kind := range nameKinds {
		labels := map[string]string{}
		for _, s := range nameservers {
			labels[s.label+" "+kind.name] = s.label
		}
		hosts, stop, err := r.hosts(dirs, labels)
		if err != nil {
			return err
		}
		err = errors.Join(
			r.alternate(hosts, order{Names: kind.name, AtOnce: manyAtOnce}, namesTurns),
			r.alternate(hosts, order{Names: kind.name, AtOnce: 1}, namesTurns))
		stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// namesTable is questions a second with many at once, and the time of one by
// itself.
func (r *report) namesTable() string {
	if r.by["dns-berth a"] == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n## Names of %d containers\n\ndnsperf in the same namespace; no resolver keeps what upstream said.\n\n", namesN)
	fmt.Fprintf(&b, "| asked | resolver | answers a second, %d at once | lost, at worst | time of one by itself |\n|---|---|---|---|---|\n", manyAtOnce)
	for _, kind := range nameKinds {
		for _, server := range nameservers {
			s := r.by[server.label+" "+kind.name]
			fmt.Fprintf(&b, "| %s | %s | %.0f | %.1f %% | %.0f µs |\n", kind.what, server.what, median(s.rate), slices.Max(s.lost), float64(median(s.connect))/1e3)
		}
	}
	return b.String()
}
