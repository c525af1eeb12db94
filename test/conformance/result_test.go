package conformance

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
)

// decode reads a result with the CNI project's library.
func decode(t *testing.T, version, stdout string) *current.Result {
	t.Helper()
	var own types.Result
	own, err := create.Create(version, []byte(stdout))
	if err != nil {
		t.Fatalf("decode result %s: %v", stdout, err)
	}
	if own.Version() != version {
		t.Errorf("result of version %s, want %s: %s", own.Version(), version, stdout)
	}
	r, err := current.NewResultFromResult(own)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// expectResult holds a result against the specification and the kernel.
func (w *world) expectResult(version, stdout string) {
	w.t.Helper()
	r := decode(w.t, version, stdout)
	w.expectKeys(version, stdout)
	hasInterfaces := slices.Index(versions, version) >= slices.Index(versions, "0.3.0")
	if w.driver.addresses {
		w.expectAddresses(r)
	}
	if w.driver.sharesHost && (len(r.IPs) != 2 || r.IPs[0].Address.String() != "192.0.2.1/24") {
		w.t.Errorf("result does not begin with the host's own addresses: %s", stdout)
	}
	if w.driver.device && hasInterfaces {
		w.expectDevice(r)
	}
	for _, ip := range r.IPs {
		if ip.Interface != nil && *ip.Interface >= len(r.Interfaces) {
			w.t.Errorf("address %v of interface %d, there are %d", ip.Address, *ip.Interface, len(r.Interfaces))
		}
	}
}

// expectKeys refuses what the version does not know.
func (w *world) expectKeys(version, stdout string) {
	w.t.Helper()
	old := []string{"cniVersion", "ip4", "ip6", "dns"}
	now := []string{"cniVersion", "interfaces", "ips", "routes", "dns"}
	known := now
	if version == "0.1.0" || version == "0.2.0" {
		known = old
	}
	var keys map[string]any
	if err := json.Unmarshal([]byte(stdout), &keys); err != nil {
		w.t.Fatal(err)
	}
	for key := range keys {
		if !slices.Contains(known, key) {
			w.t.Errorf("a result of %s has no key %q: %s", version, key, stdout)
		}
	}
	if version != "1.1.0" && strings.Contains(stdout, `"mtu"`) {
		w.t.Errorf("a result of %s has no mtu: %s", version, stdout)
	}
}

// expectAddresses wants one of each range, with its gateway's length.
func (w *world) expectAddresses(r *current.Result) {
	w.t.Helper()
	for _, subnet := range []string{"10.77.0.0/24", "fd77::/64"} {
		want := netip.MustParsePrefix(subnet)
		found := slices.ContainsFunc(r.IPs, func(ip *current.IPConfig) bool {
			p, err := netip.ParsePrefix(ip.Address.String())
			return err == nil && p.Masked() == want
		})
		if !found {
			w.t.Errorf("no address of %s in the result: %v", subnet, r.IPs)
		}
	}
}

// expectDevice compares what the result tells with what the container has.
func (w *world) expectDevice(r *current.Result) {
	w.t.Helper()
	i := slices.IndexFunc(r.Interfaces, func(i *current.Interface) bool { return i.Name == "eth0" && i.Sandbox == w.netns })
	if i < 0 {
		w.t.Errorf("no eth0 in %s among the result's interfaces: %v", w.netns, r.Interfaces)
		return
	}
	kernel, err := w.inside("ip", "address", "show", "dev", "eth0")
	if err != nil {
		w.t.Fatalf("%v: %s", err, kernel)
	}
	want := []string{",UP", "link/ether " + r.Interfaces[i].Mac}
	for _, ip := range r.IPs {
		if ip.Interface == nil || *ip.Interface != i {
			w.t.Errorf("address %v is not of eth0", ip.Address)
		}
		want = append(want, " "+ip.Address.String())
	}
	for _, text := range want {
		if !strings.Contains(kernel, text) {
			w.t.Errorf("the kernel has no %q:\n%s", text, kernel)
		}
	}
}

// addressesOf lists a result's addresses.
func addressesOf(t *testing.T, stdout string) string {
	t.Helper()
	var list []string
	for _, ip := range decode(t, "1.0.0", stdout).IPs {
		list = append(list, ip.Address.String())
	}
	return strings.Join(list, " ")
}
