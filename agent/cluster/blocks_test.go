package cluster

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/ipam"
)

// Of hosts that take a block at once, knowing nothing of each other, each has
// its own, and none has one of a network that is gone.
func TestABlockBelongsToOneHost(t *testing.T) {
	s := newServer(t)
	s.network("front", 7)
	a, b := s.loaded("a"), s.loaded("b")
	for _, c := range []*Client{a, b, a} {
		block, err := c.AcquireBlock(t.Context(), "front", tiny)
		if err != nil {
			t.Fatal(err)
		}
		if owner := s.value(blockKey("front", block)); owner != of(c.self.Name) {
			t.Errorf("%s of %s belongs to %s", block, c.self.Name, owner)
		}
		if !slices.Contains(c.BlocksOf("front"), block) {
			t.Errorf("%s does not know its block %s before the watch tells", c.self.Name, block)
		}
	}
	if len(a.BlocksOf("front")) != 2 || len(b.BlocksOf("front")) != 1 {
		t.Errorf("a has %s, b has %s", a.BlocksOf("front"), b.BlocksOf("front"))
	}
	late := s.client("late") // has read nothing: all it tries is taken but one
	if _, err := late.AcquireBlock(t.Context(), "front", tiny); err != nil {
		t.Errorf("the last block: %v", err)
	}
	if _, err := s.client("later").AcquireBlock(t.Context(), "front", tiny); !errors.Is(err, ErrNoBlock) {
		t.Errorf("one block more than there are: %v", err)
	}
	s.drop(networkKey("front"), tinyBlock("10.46.0.0"))
	if _, err := late.AcquireBlock(t.Context(), "front", tiny); !errors.Is(err, ErrNoNetwork) {
		t.Errorf("a block of a network that is gone: %v", err)
	}
	if owner := s.value(tinyBlock("10.46.0.0")); owner != "" {
		t.Errorf("%s has a block of a network that is gone", owner)
	}
}

// A static address is its host's: with its block where it lies in a range,
// else alone. Only its host gives it up.
func TestAStaticAddressBelongsToOneHost(t *testing.T) {
	s := newServer(t)
	s.network("front", 7)
	a, b := s.loaded("a"), s.loaded("b")
	within, without := netip.MustParseAddr("10.46.0.6"), netip.MustParseAddr("10.46.0.15")
	for _, addr := range []netip.Addr{within, without} {
		for range 2 {
			if err := a.AcquireAddress(t.Context(), "front", tiny, addr); err != nil {
				t.Errorf("%s for its own host: %v", addr, err)
			}
		}
		if err := b.AcquireAddress(t.Context(), "front", tiny, addr); !errors.Is(err, ErrClaimed) || !strings.Contains(err.Error(), "host a ") {
			t.Errorf("%s for another host: %v", addr, err)
		}
	}
	if s.value(tinyBlock("10.46.0.4")) != of("a") || s.value(claimKey("front", without)) != of("a") {
		t.Errorf("etcd has %q", s.keys())
	}
	for _, release := range []struct {
		by   *Client
		want string
	}{{b, of("a")}, {a, ""}, {a, ""}} {
		if err := release.by.ReleaseAddress(t.Context(), "front", without); err != nil {
			t.Error(err)
		}
		if is := s.value(claimKey("front", without)); is != release.want {
			t.Errorf("after %s has released it: %q", release.by.self.Name, is)
		}
	}
}

// The blocks of a range are those that it has an address of, also where it
// ends with the address space.
func TestFreeBlocks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ subnet, start, end, taken, want string }{
		"the first":                    {"10.46.0.0/28", "10.46.0.1", "10.46.0.14", "", "10.46.0.0/30"},
		"the first that is free":       {"10.46.0.0/28", "10.46.0.1", "10.46.0.14", "10.46.0.0/30 10.46.0.4/30", "10.46.0.8/30"},
		"a range within the subnet":    {"10.46.0.0/24", "10.46.0.40", "10.46.0.50", "", "10.46.0.32/28"},
		"its last address":             {"10.46.0.0/24", "10.46.0.40", "10.46.0.48", "10.46.0.32/28", "10.46.0.48/28"},
		"none":                         {"10.46.0.0/24", "10.46.0.40", "10.46.0.47", "10.46.0.32/28", "invalid Prefix"},
		"the end of IPv4":              {"255.255.255.240/28", "255.255.255.253", "255.255.255.254", "255.255.255.252/30", "invalid Prefix"},
		"IPv6, in blocks of 16 bits":   {"fd42::/64", "fd42::2", "fd42::ffff:ffff:ffff:ffff", "fd42::/112", "fd42::1:0/112"},
		"a subnet of a single address": {"10.46.0.7/32", "10.46.0.7", "10.46.0.7", "", "10.46.0.7/32"},
	} {
		set := ipam.RangeSet{{Subnet: netip.MustParsePrefix(test.subnet), Start: netip.MustParseAddr(test.start), End: netip.MustParseAddr(test.end)}}
		have, _ := freeBlock(set, func(p netip.Prefix) bool { return slices.Contains(strings.Fields(test.taken), p.String()) }, 0)
		if have.String() != test.want {
			t.Errorf("%s: %s, want %s", name, have, test.want)
		}
	}
}

// A range is cut down to a block, or to nothing where they do not meet.
func TestClip(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]string{
		"10.46.0.32/28": "10.46.0.40 to 10.46.0.47", "10.46.0.48/28": "10.46.0.48 to 10.46.0.50",
		"10.46.0.0/24": "10.46.0.40 to 10.46.0.50", "10.46.0.44/30": "10.46.0.44 to 10.46.0.47",
		"10.46.0.0/28": "nothing", "10.46.0.64/28": "nothing",
	} {
		r := ipam.Range{Subnet: netip.MustParsePrefix("10.46.0.0/24"), Start: netip.MustParseAddr("10.46.0.40"), End: netip.MustParseAddr("10.46.0.50")}
		have := "nothing"
		if c, some := Clip(r, netip.MustParsePrefix(block)); some {
			have = c.Start.String() + " to " + c.End.String()
		}
		if have != want {
			t.Errorf("%s: %s, want %s", block, have, want)
		}
	}
}
