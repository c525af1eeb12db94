package bridge_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
)

// layer2 is a network on br1 without a gateway, with more keys.
func layer2(keys string) string {
	return fmt.Sprintf(`{"type":"bridge","bridge":"br1",%s"ipam":{"type":"berth-ipam","ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"fd10:1::/64"}]]}}`, keys)
}

// inVLAN is network n with a gateway inside VLAN n, all on the one bridge br1.
func inVLAN(n int, keys string) string {
	return strings.Replace(config(n, fmt.Sprintf(`"vlan":%d,%s`, n, keys)), fmt.Sprintf(`"bridge":"br%d"`, n), `"bridge":"br1"`, 1)
}

// Beside br_netfilter that does not work, and ADD says so.
func TestGatewayInsideAVLANBesideBrNetfilter(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeVLANs, nettest.BridgeNetfilter)
	w := newWorld(t)
	w.brNetfilter("1")
	a := w.host.NewContainer("a")
	req := request(a, "five", inVLAN(5, `"ipMasq":true,`))
	w.warned(w.add(req), "VLAN 5", "br1", "net.bridge.bridge-nf-call-iptables")
	serve(t, w.lan, 80)
	w.cannotReach(a.Host, "192.0.2.2:80")
	w.del(req)
	w.brNetfilter("0")
	w.warned(w.add(req))
	w.reaches(a.Host, "192.0.2.2:80", "192.0.2.1")
}

func TestVLANsDoNotReachEachOther(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeVLANs)
	w := newWorld(t)
	a, b, other := w.host.NewContainer("a"), w.host.NewContainer("b"), w.host.NewContainer("other")
	w.add(request(a, "five", layer2(`"vlan":5,`)))
	b5 := w.add(request(b, "five", layer2(`"vlan":5,`)))
	w.add(request(other, "six", layer2(`"vlan":6,`)))
	for _, ip := range b5.IPs {
		address := ip.Address.Addr().String()
		a.Ping(address)
		if err := other.TryPing(address); err == nil {
			t.Errorf("a container of VLAN 6 reaches %s in VLAN 5", address)
		}
	}
}

// The host is in each network's VLAN by a device of its own, and treats what
// comes by it as what comes by a bridge: masqueraded, published, kept apart.
func TestGatewayInsideAVLAN(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeVLANs)
	for _, backend := range backends(t) {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			keys := fmt.Sprintf(`"ipMasq":true,"firewallBackend":%q,`, backend)
			a, b := w.host.NewContainer("a"), w.host.NewContainer("b")
			five := request(a, "five", inVLAN(5, keys), plugins.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
			six := request(b, "six", inVLAN(6, keys))
			r5 := w.add(five)
			w.add(six)
			if n := len(r5.Interfaces); n != 4 || r5.Interfaces[3].Name != "br1.5" || r5.IPs[0].Interface != 2 {
				t.Errorf("the result's interfaces: %+v", r5)
			}
			if out := w.host.Run("ip", "-o", "address"); !strings.Contains(out, "br1.5    inet 10.5.0.1/24") || strings.Contains(out, "br1    inet 10.") {
				t.Errorf("the gateway's addresses:\n%s", out)
			}
			for _, h := range []*nettest.Host{a.Host, w.host, w.lan} {
				serve(t, h, 80)
			}
			for i, is4 := range []bool{true, false} {
				host, lan := []string{"192.0.2.1", "2001:db8::1"}[i], []string{"192.0.2.2", "2001:db8::2"}[i]
				w.reaches(a.Host, at(lan, 80), host)            // out, masqueraded
				w.reaches(w.lan, at(host, 8080), lan)           // in, by the published port
				w.reaches(b.Host, at(host, 8080), "")           // and from the other network
				w.reaches(w.host, at(address(r5, is4), 80), "") // the host is in the VLAN
				w.cannotReach(b.Host, at(address(r5, is4), 80)) // networks are apart
				w.cannotReach(w.lan, at(address(r5, is4), 80))  // and hidden
			}
			for _, req := range []*plugins.Request{five, six} {
				if err := w.check(req); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestNetworksInVLANsShareABridgeToTheLast(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeVLANs)
	w := newWorld(t)
	w.host.ExpectClean()
	five, six := request(w.host.NewContainer("a"), "five", inVLAN(5, "")), request(w.host.NewContainer("b"), "six", inVLAN(6, ""))
	w.add(five)
	w.add(six)
	for _, step := range []struct {
		gone *plugins.Request
		left string
	}{{five, "br1 br1.6"}, {six, ""}} {
		w.del(step.gone)
		w.remove(step.gone)
		if got := strings.Join(w.bridges(), " "); got != step.left {
			t.Errorf("after network %s was removed: %q, want %q", step.gone.Name, got, step.left)
		}
	}
	w.host.Run("nft", "delete", "table", "inet", "berth")
}

func (w *world) remove(req *plugins.Request) {
	w.Helper()
	if err := on(w.host, func(d *bridge.Driver) error { return d.Remove(context.Background(), &req.Network) }); err != nil {
		w.Errorf("remove %s: %v", req.Name, err)
	}
}

// bridges are the devices named br..., without those that begin with bvg.
func (w *world) bridges() (names []string) {
	for line := range strings.Lines(w.host.Links()) {
		name, _, _ := strings.Cut(strings.Fields(line)[0], "@")
		if strings.HasPrefix(name, "br") {
			names = append(names, name)
		}
	}
	return names
}

// A trunk's container tells the VLANs apart by their tags, and gets those
// only that it was given.
func TestTrunkCarriesItsVLANsTagged(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeVLANs, nettest.VLANDevices)
	w := newWorld(t)
	trunk := w.host.NewContainer("trunk")
	req := request(trunk, "trunk", layer2(`"vlanTrunk":[{"id":5},{"minID":20,"maxID":22}],`))
	native := w.add(req)
	for i, c := range []struct {
		vlan int
		want bool
	}{{5, true}, {6, false}, {20, true}, {22, true}, {23, false}} {
		name, device := fmt.Sprintf("c%d", c.vlan), fmt.Sprintf("eth0.%d", c.vlan)
		member := w.host.NewContainer(name)
		r := w.add(request(member, name, strings.ReplaceAll(layer2(fmt.Sprintf(`"vlan":%d,`, c.vlan)), "10.1.0.", fmt.Sprintf("10.%d.0.", 30+i))))
		trunk.Run("ip", "link", "add", "link", "eth0", "name", device, "up", "type", "vlan", "id", fmt.Sprint(c.vlan))
		trunk.Run("ip", "address", "add", fmt.Sprintf("10.%d.0.200/24", 30+i), "dev", device)
		if err := trunk.TryPing(address(r, true)); (err == nil) != c.want {
			t.Errorf("VLAN %d on the trunk: %v, want reached: %v", c.vlan, err, c.want)
		}
		if err := member.TryPing(address(native, true)); err == nil {
			t.Errorf("VLAN %d reaches the trunk's untagged side", c.vlan)
		}
	}
	if err := w.check(req); err != nil {
		t.Error(err)
	}
}

// What a port is a member of, as iproute2 tells it, and that CHECK sees a VLAN
// more and one less.
func TestVLANMembershipOfThePort(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeVLANs)
	w := newWorld(t)
	c := w.host.NewContainer("c1")
	for keys, want := range map[string]string{
		`"vlan":5,`:                                                                 "1 Egress Untagged; 5 PVID Egress Untagged",
		`"vlan":5,"preserveDefaultVlan":false,`:                                     "5 PVID Egress Untagged",
		`"vlan":1,"preserveDefaultVlan":false,`:                                     "1 PVID Egress Untagged",
		`"vlanTrunk":[{"id":5},{"minID":7,"maxID":9}],`:                             "1 PVID Egress Untagged; 5; 7; 8; 9",
		`"vlanTrunk":[{"id":5,"minID":7,"maxID":8}],"preserveDefaultVlan":false,`:   "1 PVID Egress Untagged; 5; 7; 8",
		`"vlan":8,"vlanTrunk":[{"minID":7,"maxID":9}],"preserveDefaultVlan":false,`: "7; 8 PVID Egress Untagged; 9",
	} {
		req := request(c, "front", layer2(keys))
		port := w.add(req).Interfaces[1].Name
		if got := w.vlansOf(port); got != want {
			t.Errorf("%s: member of %q, want %q", keys, got, want)
		}
		if err := w.check(req); err != nil {
			t.Errorf("%s: %v", keys, err)
		}
		last, _, _ := strings.Cut(want[strings.LastIndex("; "+want, "; "):], " ")
		for _, change := range [][]string{{"add", "100"}, {"del", "100"}, {"del", last}} {
			w.host.Run("bridge", "vlan", change[0], "dev", port, "vid", change[1])
			differs := w.vlansOf(port) != want
			if err := w.check(req); (err != nil && strings.Contains(err.Error(), "VLAN")) != differs {
				t.Errorf("%s: CHECK after %v: %v", keys, change, err)
			}
		}
		w.del(req)
		if out := w.host.Run("bridge", "vlan"); strings.Contains(out, port) {
			t.Errorf("%s: left after DEL:\n%s", keys, out)
		}
	}
}

// vlansOf reads "bridge vlan": the device's name, then a VLAN a line.
func (w *world) vlansOf(port string) string {
	w.Helper()
	var vlans []string
	for line := range strings.Lines(w.host.Run("bridge", "vlan", "show", "dev", port)) {
		line = strings.TrimPrefix(line, port)
		if line = strings.Join(strings.Fields(line), " "); line != "" && !strings.HasPrefix(line, "port") {
			vlans = append(vlans, line)
		}
	}
	return strings.Join(vlans, "; ")
}

// A port that stays in the default VLAN hears what the bridge itself says.
func TestPreserveDefaultVLANIsHeard(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeVLANs)
	w := newWorld(t)
	in, out := w.host.NewContainer("in"), w.host.NewContainer("out")
	w.add(request(in, "five", layer2(`"vlan":5,`)))
	w.add(request(out, "five", layer2(`"vlan":5,"preserveDefaultVlan":false,`)))
	hear := map[*nettest.Container]*nettest.Sniffer{in: in.Sniff("eth0"), out: out.Sniff("eth0")}
	broadcast := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x88, 0xb6}, make([]byte, 46)...)
	w.host.Inject("br1", broadcast)
	for c, want := range map[*nettest.Container]bool{in: true, out: false} {
		heard := false
		for _, f := range hear[c].Frames() {
			heard = heard || f.EtherType() == 0x88b6
		}
		if heard != want {
			t.Errorf("container %s hears a broadcast of the default VLAN: %v, want %v", c.Name, heard, want)
		}
	}
}

func TestABridgeThatDoesNotFilterVLANs(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.BridgeVLANs)
	w := newWorld(t)
	c1, c2 := w.host.NewContainer("c1"), w.host.NewContainer("c2")
	w.host.Run("ip", "link", "add", "br1", "type", "bridge")
	_, err := w.tryAdd(request(c1, "five", layer2(`"vlan":5,`)))
	if err == nil || !strings.Contains(err.Error(), "vlan_filtering 1") {
		t.Errorf("on a stranger's bridge: %v", err)
	}
	w.unavailable(w.status(layer2(`"vlan":5,`)), "does not filter VLANs")
	w.host.Run("ip", "link", "delete", "br1")
	plain := w.add(request(c1, "plain", layer2("")))
	w.add(request(c2, "five", layer2(`"vlan":5,`)))
	if out := w.host.Run("ip", "-d", "link", "show", "br1"); !strings.Contains(out, "vlan_filtering 1") {
		t.Errorf("berth's own bridge:\n%s", out)
	}
	if err := c2.TryPing(address(plain, true)); err == nil {
		t.Error("VLAN 5 reaches the default VLAN")
	}
}
