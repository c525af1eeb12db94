package bridge

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
)

func TestBadConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`{"bridge":"a/b"}`, `{"bridge":"sixteen-letters-"}`, `{"mtu":-1}`, `{"mtu":70000}`, `{"hairpinMode":true,"promiscMode":true}`,
		`{"ipMasqBackend":"ipfw"}`, `{"firewallBackend":"pf"}`, `{"disableContainerInterface":true,"ipam":{"type":"berth-ipam"}}`,
	} {
		_, err := parse([]byte(bad))
		var coded *plugins.Error
		if !errors.As(err, &coded) || coded.Code != plugins.CodeInvalidConfig {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestVLANKeysThatCannotBe(t *testing.T) {
	t.Parallel()
	for bad, word := range map[string]string{
		`{"vlan":4095}`: "4095", `{"vlan":-1}`: "vlan",
		`{"bridge":"a-long-name","vlan":1000,"isGateway":true}`: "a-long-name.1000",
		`{"vlanTrunk":[{"id":5},{"id":0}]}`:                     "vlanTrunk[1]",
		`{"vlanTrunk":[{"minID":5}]}`:                           "minID",
		`{"vlanTrunk":[{"minID":7,"maxID":5}]}`:                 "7 to 5",
		`{"vlanTrunk":[{}]}`:                                    "vlanTrunk[0]",
	} {
		_, err := parse([]byte(bad))
		var coded *plugins.Error
		if !errors.As(err, &coded) || coded.Code != plugins.CodeInvalidConfig || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, good := range []string{
		`{"vlan":5}`, `{"vlan":5,"isGateway":true}`, `{"vlanTrunk":[{"id":5}],"isGateway":true}`, `{"bridge":"a-long-name","vlan":1000}`,
		`{"vlan":5,"vlanTrunk":[{"id":9,"minID":20,"maxID":30}]}`,
	} {
		if _, err := parse([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"bridge":"br0","vlanTrunk":[{"id":5}],"bindAddress":["127.0.0.1"],"ipam":{"type":"x"}}`))
	f.Add([]byte(`{"isolate":null,"icc":false,"dns":{"nameservers":["::1"]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parse(raw)
		if err != nil {
			return
		}
		if c.Bridge == "" || len(c.Bridge) > 15 || c.VLAN > maxVLAN || !json.Valid(raw) {
			t.Errorf("accepted %q as %+v", raw, c)
		}
		c.ports([]plugins.PortMapping{{HostPort: 1}})
	})
}
