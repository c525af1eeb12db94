package firewall_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
)

func TestAnycastGatewayRulesComeAndGo(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	a := firewall.Anycast{
		Port: "vx-front", MAC: net.HardwareAddr{0x0a, 'b', 'g', 0, 0, 42},
		Gateways: []netip.Addr{netip.MustParseAddr("10.42.0.1"), netip.MustParseAddr("fd42::1")},
	}
	b := firewall.Anycast{Port: "vx-back", MAC: net.HardwareAddr{0x0a, 'b', 'g', 0, 0, 43}, Gateways: []netip.Addr{netip.MustParseAddr("10.43.0.1")}}
	do := func(fn func() error) {
		t.Helper()
		if err := h.Do(fn); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		do(func() error { return errors.Join(firewall.KeepGateway(a), firewall.KeepGateway(b)) })
	}
	rules := h.Run("nft", "list", "table", "bridge", "berth-anycast")
	if n := strings.Count(rules, "drop"); n != 4 {
		t.Errorf("%d rules, want 4:\n%s", n, rules)
	}
	for _, want := range []string{`"vx-front" . 0a:62:67:00:00:2a`, `"vx-front" . 10.42.0.1`, `"vx-front" . fd42::1`, `"vx-back" . 10.43.0.1`} {
		if !strings.Contains(rules, want) {
			t.Errorf("no element %s in\n%s", want, rules)
		}
	}
	do(func() error { return errors.Join(firewall.CheckGateway(a), firewall.CheckGateway(b)) })
	for _, damage := range []string{
		"flush chain bridge berth-anycast in",
		"delete element bridge berth-anycast gateway-mac { vx-front . 0a:62:67:00:00:2a }",
		"delete element bridge berth-anycast gateway4 { vx-front . 10.42.0.1 }",
		"delete element bridge berth-anycast gateway6 { vx-front . fd42::1 }",
		"delete table bridge berth-anycast",
	} {
		h.Run("nft", damage)
		if err := h.Do(func() error { return firewall.CheckGateway(a) }); !errors.Is(err, firewall.ErrMissing) {
			t.Errorf("CheckGateway after %s: %v", damage, err)
		}
		do(func() error {
			return errors.Join(firewall.KeepGateway(a), firewall.KeepGateway(b), firewall.CheckGateway(a))
		})
	}
	for range 2 {
		do(func() error { return firewall.ForgetGateway(a) })
	}
	rules = h.Run("nft", "list", "table", "bridge", "berth-anycast")
	if strings.Contains(rules, "vx-front") || !strings.Contains(rules, "vx-back") {
		t.Errorf("after the first network went:\n%s", rules)
	}
	for range 2 {
		do(func() error { return firewall.ForgetGateway(b) })
	}
	if rules := h.Run("nft", "list", "ruleset"); rules != "" {
		t.Errorf("after the last network went:\n%s", rules)
	}
}
