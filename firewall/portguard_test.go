package firewall

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

var guardedEndpoint = &Endpoint{
	Port: "veth0", MAC: []byte{2, 0, 0, 0, 0, 1},
	Addresses: []netip.Addr{netip.MustParseAddr("10.10.0.2"), netip.MustParseAddr("fd10:10::2"), netip.MustParseAddr("10.10.0.3")},
}

func ether(mac byte, kind uint16, payload ...[]byte) []byte {
	head := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, mac, byte(kind >> 8), byte(kind)}
	return slices.Concat(append([][]byte{head}, payload...)...)
}

func arp(mac byte, ip string) []byte {
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, mac}, netip.MustParseAddr(ip).AsSlice(), make([]byte, 10))
}

// nd is a message of neighbour discovery behind extension headers.
func nd(typ byte, source, target string, extensions ...byte) []byte {
	next := func(i int) byte {
		if i < len(extensions) {
			return extensions[i]
		}
		return 58
	}
	p := []byte{0x60, 0, 0, 0, 0, 0, next(0), 255}
	p = slices.Concat(p, netip.MustParseAddr(source).AsSlice(), netip.MustParseAddr("ff02::1").AsSlice())
	for i, x := range extensions {
		h := make([]byte, 16)
		h[0], h[1] = next(i+1), 1
		if x == 44 {
			h = h[:8]
			h[1] = 0xab // reserved, and no length
		}
		p = append(p, h...)
	}
	return slices.Concat(p, []byte{typ, 0, 0, 0, 0, 0, 0, 0}, netip.MustParseAddr(target).AsSlice())
}

func TestGuardProgram(t *testing.T) {
	t.Parallel()
	vm, err := bpf.NewVM(guardProgram(guardedEndpoint))
	if err != nil {
		t.Fatal(err)
	}
	const own, other, link, mine = "fd10:10::2", "fd10:10::66", "fe80::ff:fe00:1", 1
	six := func(payload []byte) []byte { return ether(mine, 0x86dd, payload) }
	for name, c := range map[string]struct {
		frame []byte
		pass  bool
	}{
		"IPv4":                                 {ether(mine, 0x0800, make([]byte, 20)), true},
		"IPv4 with another's MAC":              {ether(2, 0x0800, make([]byte, 20)), false},
		"ARP":                                  {ether(mine, 0x0806, arp(mine, "10.10.0.2")), true},
		"ARP for its second address":           {ether(mine, 0x0806, arp(mine, "10.10.0.3")), true},
		"ARP probe":                            {ether(mine, 0x0806, arp(mine, "0.0.0.0")), true},
		"ARP for another's address":            {ether(mine, 0x0806, arp(mine, "10.10.0.1")), false},
		"ARP with another's MAC inside":        {ether(mine, 0x0806, arp(9, "10.10.0.2")), false},
		"echo":                                 {six(nd(128, other, own)), true},
		"TCP behind an extension header":       {six(nd(0, other, own, 60, 6)), true},
		"advertisement":                        {six(nd(136, own, own)), true},
		"advertisement of the link-local":      {six(nd(136, link, link)), true},
		"advertisement for another":            {six(nd(136, own, other)), false},
		"solicitation":                         {six(nd(135, own, other)), true},
		"solicitation of a probe":              {six(nd(135, "::", other)), true},
		"solicitation from another's address":  {six(nd(135, other, own)), false},
		"router advertisement":                 {six(nd(134, link, own)), false},
		"redirect":                             {six(nd(137, link, own)), false},
		"router solicitation":                  {six(nd(133, link, own)), true},
		"advertisement for another, hidden":    {six(nd(136, own, other, 0, 60, 43)), false},
		"advertisement for another, fragment":  {six(nd(136, own, other, 44)), false},
		"advertisement behind a fragment":      {six(nd(136, own, own, 60, 44)), true},
		"router advertisement, hidden":         {six(nd(134, own, other, 0, 0, 0, 0, 0, 0)), false},
		"advertisement behind a long chain":    {six(nd(136, own, own, 0, 0, 0, 0, 0, 0)), true},
		"router advertisement, hidden too far": {six(nd(134, own, own, 0, 0, 0, 0, 0, 0, 0)), false},
	} {
		verdict, err := vm.Run(c.frame)
		if err != nil {
			t.Fatal(err)
		}
		if pass := uint32(verdict) == passFrame.Val; pass != c.pass || !pass && uint32(verdict) != dropFrame.Val {
			t.Errorf("%s: the verdict is %#x", name, uint32(verdict))
		}
	}
}

// No frame ends the program with anything but a verdict or, where it is cut
// off, the kernel's and the VM's 0.
func FuzzGuardProgram(f *testing.F) {
	f.Add(ether(1, 0x86dd, nd(136, "fd10:10::2", "fd10:10::2", 0, 44, 60)))
	f.Add(ether(1, 0x0806, arp(1, "10.10.0.2")))
	vm, err := bpf.NewVM(guardProgram(guardedEndpoint))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		verdict, err := vm.Run(frame)
		if v := uint32(verdict); err != nil || v != passFrame.Val && v != dropFrame.Val && v != 0 {
			t.Errorf("% x: %#x, %v", frame, v, err)
		}
		if len(frame) > etherLen && slices.Compare(frame[6:12], guardedEndpoint.MAC) != 0 && uint32(verdict) != dropFrame.Val {
			t.Errorf("another's MAC passes: % x", frame)
		}
	})
}
