package agent_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/nettest"
)

// secretWorld is a world whose hosts have a mesh.
type secretWorld struct {
	*world
	kernel bool // WireGuard is the kernel's
}

func TestTheKernelsWireGuardKeepsANetworkSecret(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.WireGuard)
	// The agent is left to choose. One family, because this mostly runs on an
	// emulated machine.
	keepsSecret(t, "", map[string]addressing{"IPv6": onlyIPv6})
}

func TestWireGuardGoKeepsANetworkSecret(t *testing.T) {
	t.Parallel()
	requireTUN(t)
	keepsSecret(t, mesh.Userspace, map[string]addressing{"IPv4": bothFamilies, "IPv6": onlyIPv6})
}

// requireTUN is for tests of wireguard-go.
func requireTUN(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("needs TUN devices (CONFIG_TUN): %v", err)
	}
	f.Close()
}

// keepsSecret looks at one network from its first packet to its last, on an
// underlay of each kind. Three hosts have a cluster; the third joins the
// network late.
func keepsSecret(t *testing.T, implementation string, underlays map[string]addressing) {
	for name, addresses := range underlays {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &secretWorld{kernel: implementation != mesh.Userspace}
			w.world = newWorldWith(t, addresses, 3, func(int) []string { return []string{agentWireGuard + "=" + implementation} })
			spies := w.spy()
			members := []*member{w.addSecret(w.hosts[0], "c1"), w.addSecret(w.hosts[1], "c2")}
			w.everyPair(members)
			w.expectFullSize(members[0], members[1])
			w.expectNothingTakenInClear(members[0], members[1])
			members = append(members, w.addSecret(w.hosts[2], "c3"))
			w.everyPair(members)
			w.expectMesh(w.hosts[0], 2)
			w.expectMetrics(w.hosts[0])
			w.expectKeysKept()
			w.expectRotation(members)
			w.expectFailsClosed(members)
			spies.expectSecrecy(t, "HTTP/1.1")
			w.expectEnd(members)
		})
	}
}

func asSecret(conf string) string { return strings.Replace(conf, "{", `{"encrypted":true,`, 1) }

var (
	secret = asSecret(front)
	// other is a network beside front.
	other = strings.NewReplacer("10.42", "10.43", "fd42", "fd43").Replace(front)
)

// addSecret attaches a container to the encrypted network.
func (w *secretWorld) addSecret(h *nettest.Host, name string) *member {
	w.Helper()
	return w.addTo(h, name, "front", secret)
}

// spy is what crosses the underlay of every host, from before there is a
// network on.
type spy map[*nettest.Host]*nettest.Sniffer

func (w *secretWorld) spy() spy {
	s := spy{}
	for _, h := range w.hosts {
		s[h] = h.Sniff("eth0")
	}
	return s
}

// expectSecrecy fails where a frame on the underlay is VXLAN, or has any of
// the words.
func (s spy) expectSecrecy(t *testing.T, words ...string) {
	t.Helper()
	for h, sniffer := range s {
		tunnelled := 0
		for _, f := range sniffer.Frames() {
			if vni, _, ok := f.VXLAN(4789); ok && !bytes.Contains(f, forged) {
				t.Errorf("%s: VXLAN of VNI %d in clear text: %s", h.Name, vni, f)
			}
			src, dst := f.Ports()
			if dst == mesh.DefaultPort {
				tunnelled++
			}
			if src == etcdPort || dst == etcdPort {
				continue // which speaks HTTP itself
			}
			for _, w := range words {
				if bytes.Contains(f, []byte(w)) {
					t.Errorf("%s: %q in clear text: %s", h.Name, w, f)
				}
			}
		}
		if tunnelled == 0 {
			t.Errorf("%s: no WireGuard packet was seen", h.Name)
		}
	}
}

// expectEnd: the last container takes the devices and the rules with it, and
// the mesh a repair later.
func (w *secretWorld) expectEnd(members []*member) {
	w.Helper()
	for _, m := range members {
		w.del(m)
	}
	for _, h := range w.hosts {
		if out := h.Run("ip", "-br", "link") + h.Run("nft", "list", "tables"); strings.Contains(out, "front") || strings.Contains(out, "sealed") {
			w.Errorf("%s has left:\n%s", h.Name, out)
		}
		w.eventually("the mesh of "+h.Name+" to go", func() error {
			out, err := h.Try("sh", "-c", "ip -br link; ls /run/berth/*/wireguard-peers.json /run/wireguard/* 2>/dev/null")
			if strings.Contains(out, mesh.Device) || strings.Contains(out, "peers") {
				return errors.Join(err, errors.New(out))
			}
			return nil
		})
	}
}

// expectMesh: status shows the peers, each with a handshake and bytes.
func (w *secretWorld) expectMesh(h *nettest.Host, peers int) {
	w.Helper()
	w.eventually("the mesh of "+h.Name, func() error {
		s, err := w.status(h)
		if err != nil {
			return err
		}
		if s.Mesh == nil || len(s.Mesh.Peers) != peers {
			return fmt.Errorf("mesh is %+v", s.Mesh)
		}
		if isKernels := s.Mesh.Implementation == mesh.Kernel; isKernels != w.kernel {
			w.Errorf("%s has WireGuard of the implementation %q", h.Name, s.Mesh.Implementation)
		}
		for _, p := range s.Mesh.Peers {
			if p.Handshake.IsZero() || p.Received == 0 || p.Sent == 0 || !p.Endpoint.IsValid() {
				return fmt.Errorf("peer is %+v", p)
			}
		}
		return nil
	})
}

// expectMetrics: Prometheus is told of the peers too.
func (w *secretWorld) expectMetrics(h *nettest.Host) {
	w.Helper()
	all := h.Get("http://127.0.0.1:9470/metrics")
	for _, want := range []string{"berth_agent_mesh_peers 2", `berth_agent_mesh_sent_bytes_total{host="h2"}`, `berth_agent_mesh_received_bytes_total{host="h3"}`, `berth_agent_mesh_handshake_age_seconds{host="h2"}`} {
		if !strings.Contains(all, want) {
			w.Errorf("the metrics lack %s:\n%s", want, all)
		}
	}
}

// expectFullSize: what the container's MTU lets through arrives whole, so the
// packet that goes out fits the underlay.
func (w *secretWorld) expectFullSize(from, to *member) {
	w.Helper()
	want := 1500 - 60 - 70
	if w.vtep(1).Is6() {
		want -= 20
	}
	if out := from.Run("ip", "-o", "link", "show", "eth0"); !strings.Contains(out, fmt.Sprintf("mtu %d ", want)) {
		w.Errorf("the container's MTU is not %d: %s", want, out)
	}
	at := netip.AddrPortFrom(to.ips[0], 7000).String()
	conn := to.ListenPacket("udp", at)
	err := from.Do(func() error {
		c, err := net.Dial("udp", at)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(make([]byte, want-28))
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(nettest.Patience))
	if n, _, err := conn.ReadFrom(make([]byte, 2000)); err != nil || n != want-28 {
		w.Errorf("a packet of %d bytes: %d arrived, %v", want, n, err)
	}
}

// forged marks what the attacker sends.
var forged = []byte("forged by an attacker")

// expectNothingTakenInClear: who can send to a host and knows the network's
// VNI, MACs and addresses, but no key, reaches nobody.
func (w *secretWorld) expectNothingTakenInClear(a, b *member) {
	w.Helper()
	// On a network in clear the same forgery succeeds.
	plain := w.addTo(a.host, "plain", "back", other)
	stranger := nettest.NewHost(w, "stranger")
	w.underlay.Join(stranger, "eth0", "192.0.2.77/24", "2001:db8::77/64")
	w.expectForged(stranger, plain, w.vni(a.host, "back"), true)
	secret := w.vni(a.host, "front")
	for _, attacker := range []*nettest.Host{stranger, w.hosts[2]} { // the latter is in the cluster and not on the network
		w.expectForged(attacker, a, secret, false)
	}
	// Without the packet filter's part the device's own addresses still hold;
	// and the agent puts it back.
	const table = "berth-sealed"
	a.host.Run("nft", "delete", "table", "inet", table)
	w.expectForged(stranger, a, secret, false)
	if _, err := a.host.Try("nft", "list", "table", "inet", table); err == nil {
		w.Log("the rules were back before anything was forged")
	}
	a.Ping(b.ips[0].String())
	w.eventually("the rules to return", func() error { _, err := a.host.Try("nft", "list", "table", "inet", table); return err })
}

// expectForged sends a forged packet to a container by every way that an
// attacker has. Nothing of it arrives unless reaches.
func (w *secretWorld) expectForged(attacker *nettest.Host, victim *member, vni uint32, reaches bool) {
	w.Helper()
	heard := victim.Sniff("eth0")
	vteps := w.addresses(victim.host)
	if s, err := w.status(victim.host); err == nil && s.Mesh != nil {
		vteps = append(vteps, s.Mesh.Address)
	}
	for _, vtep := range vteps {
		own := w.addresses(attacker)
		src := own[slices.IndexFunc(own, func(a netip.Addr) bool { return a.Is4() == vtep.Is4() })]
		inner := udpFrame(macOf(w, victim.Host, "eth0"), net.HardwareAddr{2, 'b', 10, 42, 0, 99},
			netip.AddrPortFrom(netip.MustParseAddr("10.42.0.99"), 7000), netip.AddrPortFrom(victim.ips[0], 7001), forged)
		header := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, vni<<8)
		attacker.Inject("eth0", udpFrame(macOf(w, victim.host, "eth0"), macOf(w, attacker, "eth0"),
			netip.AddrPortFrom(src, 7000), netip.AddrPortFrom(vtep, 4789), append(header, inner...)))
	}
	got := slices.ContainsFunc(heard.Frames(), func(f nettest.Frame) bool { return bytes.Contains(f, forged) })
	if got != reaches {
		w.Errorf("what %s forges for %s in VNI %d: arrives %t, want %t", attacker.Name, victim.Name, vni, got, reaches)
	}
}

// expectRotation: with a new key the host is reached as before, and the old
// one is forgotten.
func (w *secretWorld) expectRotation(members []*member) {
	w.Helper()
	h := members[0].host
	before, err := w.status(h)
	if err != nil {
		w.Fatal(err)
	}
	begin := time.Now()
	if _, err := w.call(h, api.Request{RotateKey: &struct{}{}}); err != nil {
		w.Fatal(err)
	}
	members[0].Ping(members[1].ips[0].String())
	w.Logf("after a rotation a packet was through in %s", time.Since(begin))
	w.everyPair(members)
	w.expectKeysKept()
	if after, err := w.status(h); err != nil || after.Mesh.Key == before.Mesh.Key {
		w.Errorf("the key is still %s: %v", before.Mesh.Key, err)
	}
	for _, other := range w.hosts[1:] {
		if s, err := w.status(other); err != nil || slices.ContainsFunc(s.Mesh.Peers, func(p api.MeshPeer) bool { return p.Key == before.Mesh.Key }) {
			w.Errorf("%s still knows the old key: %v", other.Name, err)
		}
	}
}

// expectFailsClosed takes away what carries the traffic, with default routes
// there to lead it astray. That nothing leaves in clear the spies tell.
func (w *secretWorld) expectFailsClosed(members []*member) {
	w.Helper()
	h, first, second := members[0].host, members[0], members[1].ips[0].String()
	for _, gateway := range w.of(etcdNumber) {
		h.Run("ip", "route", "add", "default", "via", netip.MustParsePrefix(gateway).Addr().String(), "dev", "eth0")
	}

	// Nor does it take etcd to go on.
	w.etcd.Kill()
	w.agents[h].Kill()
	if goesOn := first.TryPing(second) == nil; goesOn != w.kernel {
		w.Errorf("while the agent is dead traffic goes on: %t", goesOn)
	}
	w.startAgent(h)
	first.Ping(second)
	w.startEtcd()
	w.everyPair(members)
	w.expectMesh(h, 2)

	h.Run("ip", "link", "delete", mesh.Device)
	_ = first.TryPing(second) // whether or not the mesh is back already
	w.everyPair(members)

	w.stopAgent(members[2].host)
	w.expectMesh(h, 1)
	w.startAgent(members[2].host)
	w.everyPair(members)
}

// stopAgent ends a host's agent in good order.
func (w *world) stopAgent(h *nettest.Host) {
	w.Helper()
	if err := w.agents[h].Signal(syscall.SIGTERM); err != nil {
		w.Fatal(err)
	}
	select {
	case <-w.agents[h].Done():
	case <-time.After(nettest.Patience):
		w.Fatalf("the agent of %s does not end", h.Name)
	}
}

// expectKeysKept: the private keys are files for root alone, and etcd, which
// has the public ones, has never seen them.
func (w *secretWorld) expectKeysKept() {
	w.Helper()
	for _, h := range w.hosts {
		path := strings.TrimSpace(h.Run("sh", "-c", "ls /run/berth/*/wireguard.key"))
		if mode := strings.TrimSpace(h.Run("stat", "-c", "%a", path)); mode != "600" {
			w.Errorf("%s: mode of the key is %s", h.Name, mode)
		}
		private, err := wgtypes.ParseKey(strings.TrimSpace(h.Run("cat", path)))
		if err != nil {
			w.Fatal(err)
		}
		if _, err := w.server.Try("grep", "-rqF", private.PublicKey().String(), w.TempDirOf()); err != nil {
			w.Errorf("etcd does not have the public key of %s: %v", h.Name, err)
		}
		if _, err := w.server.Try("grep", "-rqF", private.String(), w.TempDirOf()); err == nil {
			w.Errorf("etcd has the private key of %s", h.Name)
		}
	}
}

func (w *secretWorld) vni(h *nettest.Host, network string) uint32 {
	w.Helper()
	answer, err := w.call(h, api.Request{Inspect: &api.NetworkName{Name: network}})
	if err != nil {
		w.Fatal(err)
	}
	return answer.Network.VNI
}

// addresses are a host's on the underlay.
func (w *secretWorld) addresses(h *nettest.Host) (addrs []netip.Addr) {
	w.Helper()
	for f := range strings.FieldsSeq(h.Run("ip", "-o", "address", "show", "dev", "eth0", "scope", "global")) {
		if p, err := netip.ParsePrefix(f); err == nil {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs
}

func macOf(t testing.TB, h *nettest.Host, device string) net.HardwareAddr {
	t.Helper()
	fields := strings.Fields(h.Run("ip", "-o", "link", "show", device))
	mac, err := net.ParseMAC(fields[slices.Index(fields, "link/ether")+1])
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// udpFrame is an Ethernet frame with a UDP packet.
func udpFrame(dstMAC, srcMAC net.HardwareAddr, src, dst netip.AddrPort, data []byte) []byte {
	udp := binary.BigEndian.AppendUint16(nil, src.Port())
	udp = binary.BigEndian.AppendUint16(udp, dst.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(data)))
	udp = append(append(udp, 0, 0), data...)
	pseudo := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(udp)))
	binary.BigEndian.PutUint16(udp[6:], checksum(append(append(pseudo, 0, 0, 0, 17), udp...)))

	frame := append(append([]byte{}, dstMAC...), srcMAC...)
	if src.Addr().Is4() {
		ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(udp)))
		ip = append(append(ip, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
		return append(append(append(frame, 0x08, 0x00), ip...), udp...)
	}
	ip := append([]byte{0x60, 0, 0, 0}, byte(len(udp)>>8), byte(len(udp)), 17, 64)
	ip = append(append(ip, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	return append(append(append(frame, 0x86, 0xdd), ip...), udp...)
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// A host that is given another name has another address in the mesh, and is no
// copy of itself.
func TestARenamedHostStaysInTheMesh(t *testing.T) {
	t.Parallel()
	requireTUN(t)
	w := newWorldWith(t, bothFamilies, 2, func(int) []string { return []string{agentWireGuard + "=" + mesh.Userspace, agentTTL + "=60s"} })
	h := w.hosts[0]
	members := []*member{w.addTo(h, "a", "front", secret), w.addTo(w.hosts[1], "b", "front", secret)}
	w.everyPair(members)
	before := w.meshOf(h)
	w.stopAgent(h)
	w.settings[h] = append(w.settings[h], agentName+"=renamed")
	w.startAgent(h)
	w.eventually("the mesh to be there", func() error {
		s, err := w.status(h)
		if err == nil && s.Mesh == nil {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	after := w.meshOf(h)
	w.eventually("the tunnels to leave from the new address", func() error { // before an ADD, which would see to it
		if out, _ := h.Try("ip", "-d", "link", "show", "vx-front"); !strings.Contains(out, "local "+after.Address.String()+" ") {
			return errors.New(out)
		}
		return nil
	})
	w.everyPair(append(members, w.addTo(h, "c", "front", secret)))
	if after.Key != before.Key || after.Address == before.Address {
		t.Errorf("the mesh was %+v and is %+v", before, after)
	}
	for _, host := range w.hosts {
		if s, err := w.status(host); err != nil || strings.Contains(fmt.Sprint(s.Warnings, s.Errors), "a copy of") {
			t.Errorf("status of %s: %+v, %v", host.Name, s, err)
		}
	}
}
