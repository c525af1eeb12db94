package dhcp_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/dhcp"
)

func ask(ipam string, args map[string]string) (dhcp.Ask, error) {
	return dhcp.NewAsk("ADD", &plugins.Request{
		Network:     plugins.Network{Name: "lan", Config: []byte(`{"ipam":` + ipam + `}`)},
		ContainerID: "c1", IfName: "eth0", NetNS: "/run/netns/c1", Args: plugins.Args{Raw: args},
	})
}

func TestKeysOfTheCNIProjectsPlugin(t *testing.T) {
	t.Parallel()
	a, err := ask(`{"type":"dhcp","priority":7,
		"provide":[{"option":"host-name","fromArg":"NAME"},{"option":"60","value":"berth"},{"option":"user-class","fromArg":"MISSING"}],
		"request":[{"skipDefault":false},{"option":"routers"},{"option":"119"}]}`, map[string]string{"NAME": "web"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint8]string{12: "web", 60: "berth"}
	if !a.IPv4 || a.IPv6 || a.Priority != 7 || !reflect.DeepEqual(a.Provide, want) || !reflect.DeepEqual(a.Request, []uint8{3, 119}) {
		t.Errorf("asked %+v", a)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	for ipam, want := range map[string]string{
		`{"ipv4":false}`:                                       "nothing to ask for",
		`{"routes":[{"gw":"192.0.2.1"}]}`:                      "ipam.routes[0].dst",
		`{"routes":[{"dst":"::/0","gw":"192.0.2.1"}]}`:         "ipam.routes[0].gw",
		`{"provide":[{"option":"nonsense","value":"x"}]}`:      "ipam.provide[0].option",
		`{"provide":[{"option":"255","value":"x"}]}`:           "ipam.provide[0].option",
		`{"provide":[{"option":"12","fromArg":"LONG"}]}`:       "ipam.provide[0]",
		`{"provide":[{"option":"12","value":"` + long + `"}]}`: "ipam.provide[0].value",
		`{"request":[{"option":"routers"},{"option":"0"}]}`:    "ipam.request[1].option",
		`{"priority":-1}`:                                      "ipam.priority",
	} {
		_, err := ask(ipam, map[string]string{"LONG": long})
		var coded *plugins.Error
		if !errors.As(err, &coded) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that names %s", ipam, err, want)
		}
	}
}

var long = strings.Repeat("x", 256)

func TestAskNamesAnAttachment(t *testing.T) {
	t.Parallel()
	for _, bad := range []dhcp.Ask{
		{ContainerID: "c", IfName: "eth0"},
		{Network: "n", IfName: "eth0"},
		{Network: "n\x00", ContainerID: "c", IfName: "eth0"},
		{Network: "n", ContainerID: "c", IfName: "../eth0"},
	} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
