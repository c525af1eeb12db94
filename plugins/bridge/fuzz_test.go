package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/cniwire"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
	"github.com/berth-net/berth/plugins/cniresult"
)

// FuzzPrevResult gives CHECK of a real attachment what a runtime may give it,
// as JSON: it must not panic, and it must be content with exactly those
// results that have what ADD made.
func FuzzPrevResult(f *testing.F) {
	host := nettest.NewHost(f, "host")
	c := host.NewContainer("c1")
	req := request(c, "front", config(1, ""))
	var made *plugins.Result
	if err := on(host, func(d *bridge.Driver) (err error) {
		made, err = d.Add(context.Background(), req)
		return err
	}); err != nil {
		f.Fatal(err)
	}
	for _, version := range cniwire.Versions {
		whole, err := cniresult.Encode(made, version)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole)
	}
	f.Add([]byte(`{"interfaces":[{"name":"eth0"}],"ips":[{"address":"10.1.0.2/24","interface":-1}],"routes":[{"dst":"::/0"}]}`))
	f.Add([]byte(`{"cniVersion":"1.0.0","interfaces":null,"ips":[{"address":"::/0","interface":99}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		seen, answer := checkOnTheWire(host, req, raw)
		switch {
		case strings.Contains(answer, "panicked"):
			t.Error(answer)
		case seen != nil && tells(seen, made) != (answer == ""):
			t.Errorf("CHECK answers %q to a result that has what ADD made: %v", answer, tells(seen, made))
		}
	})
}

// checkOnTheWire runs CHECK as a runtime does. It returns the prevResult as
// it came to the driver, nil where none did, and what was written to stdout.
func checkOnTheWire(host *nettest.Host, req *plugins.Request, prev []byte) (*plugins.Result, string) {
	var keys map[string]any
	json.Unmarshal(req.Config, &keys)
	keys["cniVersion"], keys["name"], keys["prevResult"] = req.CNIVersion, req.Name, json.RawMessage(prev)
	stdin, _ := json.Marshal(keys) // prev is valid JSON
	env := map[string]string{
		"CNI_COMMAND": "CHECK", "CNI_CONTAINERID": req.ContainerID, "CNI_NETNS": req.NetNS, "CNI_IFNAME": req.IfName, "CNI_PATH": "/opt/cni/bin",
	}
	var out bytes.Buffer
	s := new(spy)
	on(host, func(d *bridge.Driver) error {
		s.Driver = d
		call := cniwire.Call{
			Name: "bridge", Getenv: func(key string) string { return env[key] },
			Stdin: bytes.NewReader(stdin), Stdout: &out, Stderr: &out,
			Lookup: func(string) (plugins.Driver, error) { return s, nil },
		}
		call.Run(context.Background())
		return nil
	})
	return s.prev, out.String()
}

// spy sees what comes to the driver.
type spy struct {
	plugins.Driver
	prev *plugins.Result
}

func (s *spy) Check(ctx context.Context, req *plugins.Request) error {
	s.prev = req.Prev
	return s.Driver.Check(ctx, req)
}

// tells whether prev has every device and address that ADD made.
func tells(prev, made *plugins.Result) bool {
	for _, i := range made.Interfaces {
		if !slices.ContainsFunc(prev.Interfaces, func(p plugins.Interface) bool { return p.Name == i.Name && p.Sandbox == i.Sandbox }) {
			return false
		}
	}
	for _, ip := range made.IPs {
		if !slices.ContainsFunc(prev.IPs, func(p plugins.IP) bool { return p.Address == ip.Address }) {
			return false
		}
	}
	return true
}
