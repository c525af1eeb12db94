package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// The result of an earlier plugin in a chain, in a version of its own.
const earlier = `{"cniVersion": "0.4.0", "interfaces": [{"name": "lo", "sandbox": "%s"}],
	"ips": [{"version": "4", "address": "198.51.100.7/24", "interface": 0}]}`

func TestPrevResultInAChain(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		for _, version := range versions {
			w := newWorld(t, d)
			result := w.must("ADD", w.conf(version, prev(fmt.Sprintf(earlier, w.netns))))
			handedOn := strings.Contains(result, "198.51.100.7/24")
			if handedOn != (d.name == "loopback") {
				t.Errorf("%s: only loopback hands an earlier result on: %s", version, result)
			}
			w.must("DEL", w.conf(version, prev(result)))
		}
	})
}

// A prevResult of CHECK that tells of somebody else's attachment.
func TestCheckComparesThePrevResult(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		if d.stateless {
			t.Skip("it has nothing to compare")
		}
		w := newWorld(t, d)
		w.must("ADD", w.conf("1.0.0", ""))
		got := w.refused("CHECK", w.conf("1.0.0", `, "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "x"}], "ips": [{"address": "10.99.0.1/24"}]}`))
		if got.Code != 7 || !strings.Contains(got.Msg, "prevResult") {
			t.Errorf("%+v", got)
		}
	})
}

// The library that most runtimes use, with a chain of two plugins.
func TestLibcni(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
			w := newWorld(t, d)
			cni := libcni.NewCNIConfigWithCacheDir([]string{bin}, t.TempDir(), nil)
			if err := w.host.Do(func() error { return w.useLibcni(cni, version) }); err != nil {
				t.Errorf("%s: %v", version, err)
			}
		}
	})
}

func (w *world) list(version string) []byte {
	plugins := []json.RawMessage{json.RawMessage(w.conf(version, ""))}
	if !w.driver.sharesHost {
		plugins = append(plugins, json.RawMessage(`{"type": "loopback"}`))
	}
	raw, err := json.Marshal(map[string]any{"cniVersion": version, "name": "net1", "plugins": plugins})
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

func (w *world) useLibcni(cni *libcni.CNIConfig, version string) error {
	ctx := context.Background()
	list, err := libcni.ConfListFromBytes(w.list(version))
	if err != nil {
		return err
	}
	rt := &libcni.RuntimeConf{ContainerID: "c1", NetNS: w.netns, IfName: "eth0"}
	if _, err := cni.ValidateNetworkList(ctx, list); err != nil {
		return fmt.Errorf("validate: %w", err)
	}
	if _, err := cni.AddNetworkList(ctx, list, rt); err != nil {
		return fmt.Errorf("add: %w", err)
	}
	if has(version, "CHECK") {
		if err := cni.CheckNetworkList(ctx, list, rt); err != nil {
			return fmt.Errorf("check: %w", err)
		}
	}
	if has(version, "STATUS") {
		if err := w.statusAndGC(ctx, cni, list); err != nil {
			return err
		}
	}
	if err := cni.DelNetworkList(ctx, list, rt); err != nil {
		return fmt.Errorf("del: %w", err)
	}
	return cni.DelNetworkList(ctx, list, rt)
}

func (w *world) statusAndGC(ctx context.Context, cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
	if err := cni.GetStatusNetworkList(ctx, list); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	valid := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "c1", IfName: "eth0"}}}
	if err := cni.GCNetworkList(ctx, list, valid); err != nil {
		return fmt.Errorf("gc: %w", err)
	}
	return nil
}

// The CNI project's own tool, as a person uses it.
func TestCnitool(t *testing.T) {
	eachDriver(t, func(t *testing.T, d driver) {
		w := newWorld(t, d)
		w.host.Run("mkdir", "-p", "/etc/cni/net.d")
		w.host.Run("sh", "-c", "printf %s '"+string(w.list("1.1.0"))+"' > /etc/cni/net.d/10-net1.conflist")
		for _, verb := range []string{"add", "check", "status", "del", "del"} {
			out, err := w.host.Try("env", "CNI_PATH="+bin, "NETCONFPATH=/etc/cni/net.d", filepath.Join(bin, "cnitool"), verb, "net1", w.netns)
			if err != nil {
				t.Fatalf("cnitool %s: %v\n%s", verb, err, out)
			}
		}
	})
}
