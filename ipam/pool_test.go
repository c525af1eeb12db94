package ipam_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/ipam"
)

func pool(t testing.TB, s string) ipam.Pool {
	t.Helper()
	p, err := ipam.ParsePool(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func subnets(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestCarveAvoidsWhatIsTaken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pools []string
		taken []string
		want  string
	}{
		{[]string{"10.210.0.0/16:24"}, nil, "10.210.0.0/24"},
		{[]string{"10.210.0.0/16:24"}, []string{"0.0.0.0/0", "::/0"}, "10.210.0.0/24"},
		{[]string{"10.210.0.0/16:24"}, []string{"10.210.0.7/32"}, "10.210.1.0/24"},
		{[]string{"10.210.0.0/16:24"}, []string{"10.210.0.0/17"}, "10.210.128.0/24"},
		{[]string{"10.210.0.0/16:24"}, []string{"10.210.1.0/24", "10.210.0.0/24", "10.210.3.0/24"}, "10.210.2.0/24"},
		{[]string{"10.210.0.0/16:24", "172.31.0.0/16:20"}, []string{"10.0.0.0/8", "172.31.0.1/24"}, "172.31.16.0/20"},
		{[]string{"fd00:be47::/32:64"}, []string{"fd00:be47::/48"}, "fd00:be47:1::/64"},
		{[]string{"10.210.0.0/24:24"}, []string{"fd00::/8"}, "10.210.0.0/24"},
	} {
		var pools []ipam.Pool
		for _, s := range test.pools {
			pools = append(pools, pool(t, s))
		}
		got, err := ipam.Carve(pools, subnets(test.taken...))
		if err != nil || got.String() != test.want {
			t.Errorf("from %v beside %v: %v, %v; want %s", test.pools, test.taken, got, err, test.want)
		}
	}
}

func TestCarveNamesTheExhaustedPools(t *testing.T) {
	t.Parallel()
	pools := []ipam.Pool{pool(t, "10.210.0.0/23:24"), pool(t, "255.255.255.0/24:25")}
	var taken []netip.Prefix
	for range 4 {
		p, err := ipam.Carve(pools, taken)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, p)
	}
	_, err := ipam.Carve(pools, taken)
	if !errors.Is(err, ipam.ErrPoolExhausted) || !strings.Contains(err.Error(), "10.210.0.0/23:24, 255.255.255.0/24:25") {
		t.Errorf("error %v, want ErrPoolExhausted with both pools", err)
	}
}

func TestPoolsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "10.0.0.0/8", "10.0.0.0/8:7", "10.0.0.0/8:33", "10.0.0.1/8:24", "fd00::/8", "fd00::/8:129", "x/8:9"} {
		if p, err := ipam.ParsePool(s); err == nil {
			t.Errorf("%q is read as %v", s, p)
		}
	}
}
