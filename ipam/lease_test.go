package ipam_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// bench is a network's ranges and a state of their own.
type bench struct {
	t      testing.TB
	store  *state.Store
	config *ipam.Config
}

func newBench(t testing.TB, config string) *bench {
	t.Helper()
	return &bench{t, state.ForBoot(t.TempDir(), "boot"), parse(t, config)}
}

func parse(t testing.TB, config string) *ipam.Config {
	t.Helper()
	c, err := ipam.Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func key(container string) endpoint.Key {
	return endpoint.Key{Network: "net", ContainerID: container, IfName: "eth0"}
}

func (b *bench) try(req ipam.Request) (addresses []ipam.Address, err error) {
	err = b.store.Update(func(tx *state.Tx) error {
		addresses, err = ipam.Lease(tx, b.config, req)
		return err
	})
	return addresses, err
}

// lease returns the leased addresses as text, "10.0.0.2/24 …".
func (b *bench) lease(container string, static ...string) string {
	b.t.Helper()
	addresses, err := b.try(ipam.Request{Key: key(container), Static: prefixes(static)})
	if err != nil {
		b.t.Fatal(err)
	}
	return text(addresses)
}

func prefixes(texts []string) (out []netip.Prefix) {
	for _, s := range texts {
		a := netip.MustParseAddr(s)
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

func text(addresses []ipam.Address) string {
	var out []string
	for _, a := range addresses {
		out = append(out, a.Prefix.String())
	}
	return strings.Join(out, " ")
}

func (b *bench) release(container string) {
	b.t.Helper()
	err := b.store.Update(func(tx *state.Tx) error { return ipam.Release(tx, key(container)) })
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) leased(container string) (addresses []netip.Addr) {
	b.t.Helper()
	err := b.store.View(func(tx *state.Tx) (err error) {
		addresses, err = ipam.Leased(tx, key(container))
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return addresses
}

func (b *bench) holdings() (held []ipam.Holding) {
	b.t.Helper()
	err := b.store.View(func(tx *state.Tx) (err error) {
		held, err = ipam.Holdings(tx, "net")
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return held
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("leased %s, want %s", got, want)
	}
}

const dual = `{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/24"}],[{"subnet":"fd00::/64"}]]}`

func TestOneAddressOfEachSet(t *testing.T) {
	t.Parallel()
	b := newBench(t, dual)
	expect(t, b.lease("a"), "10.0.0.2/24 fd00::2/64")
	expect(t, b.lease("b"), "10.0.0.3/24 fd00::3/64")
	if got := fmt.Sprint(b.leased("b")); got != "[10.0.0.3 fd00::3]" {
		t.Errorf("leased by b: %s", got)
	}
	if got := b.leased("c"); got != nil {
		t.Errorf("leased by c: %v", got)
	}
}

func TestAddressesCarryTheGateway(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/24","gateway":"10.0.0.254"}],[{"subnet":"fd00::/64"}]]}`)
	addresses, err := b.try(ipam.Request{Key: key("a")})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, text(addresses), "10.0.0.1/24 fd00::2/64")
	if addresses[0].Gateway.String() != "10.0.0.254" || addresses[1].Gateway.String() != "fd00::1" {
		t.Errorf("gateways: %v", addresses)
	}
}

func TestAskedAgainItIsTheSameAddress(t *testing.T) {
	t.Parallel()
	b := newBench(t, dual)
	b.lease("a")
	want := b.lease("b")
	expect(t, b.lease("b"), want)
	// A second interface of the container is another holder.
	addresses, err := b.try(ipam.Request{Key: endpoint.Key{Network: "net", ContainerID: "b", IfName: "eth1"}})
	if err != nil || text(addresses) == want {
		t.Errorf("second interface: %s, %v", text(addresses), err)
	}
}

func TestNetworksDoNotShareLeases(t *testing.T) {
	t.Parallel()
	b := newBench(t, dual)
	want := b.lease("a")
	addresses, err := b.try(ipam.Request{Key: endpoint.Key{Network: "net2", ContainerID: "a", IfName: "eth0"}})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, text(addresses), want)
	b.release("a")
	if b.leased("a") != nil {
		t.Error("a holds addresses after its release")
	}
}

func TestFreedAddressIsTheLastToBeGivenAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/29"}]]}`) // .2 to .6
	for _, c := range []string{"a", "b", "c"} {
		b.lease(c)
	}
	b.release("b") // .3
	b.release("a") // .2
	for _, want := range []string{"10.0.0.5/29", "10.0.0.6/29", "10.0.0.3/29", "10.0.0.2/29"} {
		expect(t, b.lease("x"+want), want)
	}
	_, err := b.try(ipam.Request{Key: key("y")})
	var coded *plugins.Error
	if !errors.Is(err, ipam.ErrExhausted) || !errors.As(err, &coded) || coded.Code != plugins.CodeTryAgain {
		t.Errorf("a full range: %v", err)
	}
	for _, part := range []string{"net/y/eth0", "10.0.0.0/29", "10.0.0.1-10.0.0.6"} {
		if !strings.Contains(fmt.Sprint(err), part) {
			t.Errorf("error %v does not name %s", err, part)
		}
	}
}

func TestStaticRequests(t *testing.T) {
	t.Parallel()
	b := newBench(t, dual)
	expect(t, b.lease("a", "10.0.0.3", "fd00::99"), "10.0.0.3/24 fd00::99/64")
	expect(t, b.lease("b"), "10.0.0.2/24 fd00::2/64")
	expect(t, b.lease("c", "fd00::2:1"), "10.0.0.4/24 fd00::2:1/64")
	// The same request again, and then another address for the same holder.
	expect(t, b.lease("a", "10.0.0.3"), "10.0.0.3/24 fd00::99/64")
	expect(t, b.lease("a", "10.0.0.9"), "10.0.0.9/24 fd00::99/64")
	expect(t, b.lease("d", "10.0.0.3"), "10.0.0.3/24 fd00::3/64") // a freed one, at once
}

func TestStaticRequestsThatCannotBe(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","exclude":["10.0.0.50-10.0.0.60"],"ranges":[[{"subnet":"10.0.0.0/24","rangeEnd":"10.0.0.99"}]]}`)
	b.lease("a", "10.0.0.7")
	for _, test := range []struct {
		static string
		is     error
		names  string
	}{
		{"10.0.0.7", ipam.ErrInUse, "container a"},
		{"10.0.0.1", ipam.ErrOutOfRange, "gateway"},
		{"10.0.0.55", ipam.ErrOutOfRange, "excluded"},
		{"10.0.0.100", ipam.ErrOutOfRange, "10.0.0.1-10.0.0.99"},
		{"10.0.1.1", ipam.ErrOutOfRange, "10.0.0.0/24"},
		{"fd00::1", ipam.ErrOutOfRange, "10.0.0.0/24"},
	} {
		_, err := b.try(ipam.Request{Key: key("b"), Static: prefixes([]string{test.static})})
		if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.names) {
			t.Errorf("%s: %v, want %v naming %q", test.static, err, test.is, test.names)
		}
	}
	_, err := b.try(ipam.Request{Key: key("b"), Static: prefixes([]string{"10.0.0.8", "10.0.0.9"})})
	if !errors.Is(err, ipam.ErrOutOfRange) {
		t.Errorf("two addresses of one set: %v", err)
	}
	if b.leased("b") != nil {
		t.Errorf("b holds %v after refusals", b.leased("b"))
	}
}

func TestSeveralRangesOfASet(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","ranges":[[
		{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.10","rangeEnd":"10.0.0.11"},
		{"subnet":"10.9.0.0/16","rangeStart":"10.9.3.0","rangeEnd":"10.9.3.0","gateway":"10.9.0.9"}]]}`)
	expect(t, b.lease("a"), "10.0.0.10/24")
	expect(t, b.lease("b"), "10.0.0.11/24")
	expect(t, b.lease("c"), "10.9.3.0/16")
	if _, err := b.try(ipam.Request{Key: key("d")}); !errors.Is(err, ipam.ErrExhausted) {
		t.Errorf("error %v, want ErrExhausted", err)
	}
	b.release("a")
	expect(t, b.lease("d"), "10.0.0.10/24")
}

func TestTwoSetsOfOneSubnet(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","ranges":[
		[{"subnet":"10.0.0.0/24","rangeEnd":"10.0.0.9"}],[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.10"}]]}`)
	expect(t, b.lease("a", "10.0.0.40"), "10.0.0.2/24 10.0.0.40/24")
}

func TestSmallSubnets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ subnet, gateway, want string }{
		{"10.0.0.0/31", "", "10.0.0.1/31"},
		{"10.0.0.0/31", "10.0.0.1", "10.0.0.0/31"},
		{"10.0.0.7/32", "", "10.0.0.7/32"},
		{"10.0.0.7/32", "169.254.1.1", "10.0.0.7/32"},
		{"fd00::/127", "", "fd00::1/127"},
		{"fd00::7/128", "", "fd00::7/128"},
	} {
		gateway := ""
		if test.gateway != "" {
			gateway = `,"gateway":"` + test.gateway + `"`
		}
		b := newBench(t, `{"type":"berth-ipam","ranges":[[{"subnet":"`+test.subnet+`"`+gateway+`}]]}`)
		expect(t, b.lease("a"), test.want)
		if _, err := b.try(ipam.Request{Key: key("b")}); !errors.Is(err, ipam.ErrExhausted) {
			t.Errorf("%s: a second lease: %v", test.subnet, err)
		}
	}
}

func TestHugeRangesAreNotEnumerated(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","ranges":[[{"subnet":"::/0"}],[{"subnet":"0.0.0.0/0"}]]}`)
	expect(t, b.lease("a"), "::2/0 0.0.0.2/0")
	expect(t, b.lease("b", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "255.255.255.254"),
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0 255.255.255.254/0")
}

func TestExclusions(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","exclude":["10.0.0.0/30","10.0.0.5"],
		"ranges":[[{"subnet":"10.0.0.0/28","exclude":["10.0.0.7-10.0.0.12"]}]]}`)
	for _, want := range []string{"10.0.0.4/28", "10.0.0.6/28", "10.0.0.13/28", "10.0.0.14/28"} {
		expect(t, b.lease(want), want)
	}
	if _, err := b.try(ipam.Request{Key: key("z")}); !errors.Is(err, ipam.ErrExhausted) {
		t.Errorf("error %v, want ErrExhausted", err)
	}
}

func TestReservations(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/24","rangeEnd":"10.0.0.9"}]],"reservations":[
		{"address":"10.0.0.2","name":"db"},{"address":"10.0.0.200","mac":"02:00:00:00:00:07"}]}`)
	expect(t, b.lease("a"), "10.0.0.3/24")
	mac, _ := net.ParseMAC("02:00:00:00:00:07")
	for _, test := range []struct {
		req  ipam.Request
		want string
	}{
		{ipam.Request{Key: key("b"), Name: "db"}, "10.0.0.2/24"},
		{ipam.Request{Key: key("c"), MAC: mac}, "10.0.0.200/24"},
		{ipam.Request{Key: key("e"), MAC: mac, Static: prefixes([]string{"10.0.0.6"})}, "10.0.0.6/24"},
	} {
		addresses, err := b.try(test.req)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, text(addresses), test.want)
	}
	_, err := b.try(ipam.Request{Key: key("d"), Static: prefixes([]string{"10.0.0.2"})})
	if !errors.Is(err, ipam.ErrInUse) || !strings.Contains(err.Error(), "db") {
		t.Errorf("another's reservation: %v", err)
	}
}

func TestChangedRangesLoseNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, `{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.10","rangeEnd":"10.0.0.12"}]]}`)
	b.lease("a")
	b.lease("b")
	b.release("a") // .10 waits in the old range's queue
	b.config = parse(t, `{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.12"}]]}`)
	for _, want := range []string{"10.0.0.9/24", "10.0.0.12/24", "10.0.0.10/24"} {
		expect(t, b.lease(want), want)
	}
	b.config = parse(t, `{"type":"berth-ipam","ranges":[[{"subnet":"10.1.0.0/24"}]]}`)
	expect(t, b.lease("b"), "10.1.0.2/24") // the old one is of no use now
	if got := b.leased("b"); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("10.1.0.2")}) {
		t.Errorf("leased by b: %v", got)
	}
}
