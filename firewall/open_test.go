package firewall

import (
	"errors"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// host is one whose kernel answers the probe with err, and that has the tools.
func host(err error, tools ...string) offer {
	return offer{func() error { return err }, func(file string) (string, error) {
		if slices.Contains(tools, file) {
			return "/sbin/" + file, nil
		}
		return "", exec.ErrNotFound
	}}
}

func TestDefaultBackendIsWhatTheHostHas(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		host offer
		want Firewall
	}{
		"nftables":            {host(nil, "iptables-restore", "iptables-legacy-restore"), NFTables{}},
		"iptables":            {host(unix.EINVAL, "iptables-restore"), IPTables{}},
		"legacy iptables":     {host(unix.EPROTONOSUPPORT, "iptables-restore", "iptables-legacy-restore"), IPTables{legacy: true}},
		"legacy by its own":   {host(unix.EINVAL, "iptables-legacy-restore"), IPTables{legacy: true}},
		"neither":             {host(unix.EINVAL), nil},
		"neither, no netlink": {host(unix.EPROTONOSUPPORT, "ip6tables-restore"), nil},
	} {
		got, err := c.host.open("")
		if got != c.want {
			t.Errorf("%s: %#v, %v; want %#v", name, got, err, c.want)
		}
		if c.want == nil && (!errors.Is(err, ErrBackend) || !strings.Contains(err.Error(), "CONFIG_NF_TABLES") || !strings.Contains(err.Error(), "iptables is not installed")) {
			t.Errorf("%s: the refusal does not say what is missing: %v", name, err)
		}
	}
	if got, err := host(unix.EINVAL, "iptables-restore").open("ipfw"); !errors.Is(err, ErrBackend) {
		t.Errorf("an unknown name: %v, %v", got, err)
	}
}

func TestTheProbeTellsNoSubsystemFromNoPermission(t *testing.T) {
	t.Parallel()
	for _, err := range []error{unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT} {
		if absent(err) == nil {
			t.Errorf("%v: nftables is taken to be there", err)
		}
	}
	if err := absent(unix.EPERM); err != nil {
		t.Errorf("EPERM: %v", err)
	}
	h := nettest.NewHost(t, "h")
	if err := h.Do(probeNFTables); err != nil {
		t.Errorf("this kernel: %v", err)
	}
}

// Without nftables in the kernel the rules must come without it too.
func TestFallbackWritesLegacyRules(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	for _, tool := range []string{"iptables-legacy-save", "ip6tables-legacy-save"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no ", tool)
		}
		if out, err := h.Try(tool); err != nil {
			t.Skipf("%s: kernel without legacy iptables (CONFIG_IP_NF_IPTABLES_LEGACY): %s", tool, out)
		}
	}
	fw, err := offer{func() error { return unix.EINVAL }, exec.LookPath}.open("")
	if err != nil {
		t.Fatal(err)
	}
	n := &Network{Bridge: "br1", Isolated: true, Hidden: true}
	h.Run("ip", "link", "add", "port0", "type", "veth", "peer", "name", "port1")
	e := &Endpoint{
		Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd10:1::2")}, Masquerade: true,
		Ports:  []plugins.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}},
		Strict: true, Port: "port0", MAC: []byte{2, 0, 0, 0, 0, 1},
	}
	if err := h.Do(func() error { return errors.Join(fw.Add(n, e), fw.Check(n, e)) }); err != nil {
		t.Fatal(err)
	}
	for tool, want := range map[string]string{"iptables-legacy-save": "--to-destination 10.1.0.2:80", "ip6tables-legacy-save": "--to-destination [fd10:1::2]:80"} {
		for _, want := range []string{want, "-j TEE --gateway"} {
			if out := h.Run(tool); !strings.Contains(out, want) {
				t.Errorf("%s has no %q:\n%s", tool, want, out)
			}
		}
	}
	if rules := h.Rules(); strings.TrimSpace(rules) != "" {
		t.Errorf("nftables was used:\n%s", rules)
	}
	if err := h.Do(func() error { return errors.Join(fw.Del(n, e), fw.Forget(n)) }); err != nil {
		t.Error(err)
	}
	if out := h.Run("iptables-legacy-save"); strings.Contains(out, "br1") {
		t.Errorf("rules are left:\n%s", out)
	}
}
