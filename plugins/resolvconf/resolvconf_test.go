package resolvconf_test

import (
	"testing"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/resolvconf"
)

func TestWhatIsReadIsWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"nameserver 192.0.2.1\nnameserver fe80::1%eth0\n# nameserver 192.0.2.9\n; x\nsearch a.example b.example\noptions ndots:2 rotate\n": "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2 rotate\n",
		"domain corp.example\nnameserver\t192.0.2.1": "nameserver 192.0.2.1\nsearch corp.example\n",
		"domain corp.example\nsearch a.example":      "search a.example\n",
		"nameserver\nsortlist 1\n\n":                 "",
	} {
		if got := resolvconf.Format(resolvconf.Parse(text)); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestOverKeepsWhatIsNotSet(t *testing.T) {
	t.Parallel()
	below := plugins.DNS{Nameservers: []string{"192.0.2.1"}, Search: []string{"a.example"}, Options: []string{"rotate"}}
	got := resolvconf.Format(resolvconf.Over(plugins.DNS{Nameservers: []string{"192.0.2.2"}, Domain: "b.example"}, below))
	if want := "nameserver 192.0.2.2\nsearch b.example\noptions rotate\n"; got != want {
		t.Errorf("over: %q, want %q", got, want)
	}
	if got := resolvconf.Format(resolvconf.Over(plugins.DNS{}, below)); got != resolvconf.Format(below) {
		t.Errorf("nothing over: %q", got)
	}
}
