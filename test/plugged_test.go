package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/berth-net/berth/nettest"
)

// plugged is a host on which a runtime that knows nothing of berth calls the
// plugins.
type plugged struct {
	*testing.T
	h   *nettest.Host
	bin string
}

func (p *plugged) berth(args ...string) string {
	p.Helper()
	return p.h.Run(filepath.Join(p.bin, "berth"), args...)
}

// call runs the plugin of a network's conflist, and returns ADD's result.
func (p *plugged) call(verb, network string, c *nettest.Container, ports ...string) types100.Result {
	p.Helper()
	var list struct {
		CNIVersion string           `json:"cniVersion"`
		Plugins    []map[string]any `json:"plugins"`
	}
	raw := p.h.Run("cat", "/etc/cni/net.d/berth-"+network+".conflist")
	if err := json.Unmarshal([]byte(raw), &list); err != nil {
		p.Fatal(err)
	}
	conf := list.Plugins[0]
	delete(conf, "capabilities")
	conf["name"], conf["cniVersion"] = network, list.CNIVersion
	conf["runtimeConfig"] = map[string]any{
		"aliases":      map[string][]string{network: {c.Name + "-alias"}},
		"portMappings": json.RawMessage("[" + strings.Join(ports, ",") + "]"),
	}
	in, _ := json.Marshal(conf)
	cmd := p.h.Command(filepath.Join(p.bin, "cni", conf["type"].(string)))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID="+c.Name, "CNI_NETNS="+c.Path, "CNI_IFNAME=eth0",
		"CNI_PATH="+filepath.Join(p.bin, "cni"), "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME="+c.Name)
	cmd.Stdin = strings.NewReader(string(in))
	var out []byte
	err := p.h.Do(func() (err error) { out, err = cmd.Output(); return err })
	if err != nil {
		p.Fatalf("%s %s: %v\n%s", verb, c.Name, err, out)
	}
	var result types100.Result
	if verb == "ADD" {
		if err := json.Unmarshal(out, &result); err != nil {
			p.Fatal(err)
		}
	}
	return result
}
