package firewall

import (
	"errors"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// Half a guard would be worse than none.
func TestIPTablesRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	for key, e := range map[string]*Endpoint{
		"strictPublish": {Strict: true},
	} {
		err := h.Do(func() error { return IPTables{}.Add(&Network{Bridge: "br1"}, e) })
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if rules := h.Rules(); strings.TrimSpace(rules) != "" {
		t.Errorf("left behind:\n%s", rules)
	}
}
