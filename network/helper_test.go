package network_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/network"
	"github.com/berth-net/berth/state"
)

// catalogue is one in directories of its own.
func catalogue(t *testing.T) (*network.Catalogue, string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "net.d")
	return open(t, root), dir
}

func open(t *testing.T, root string) *network.Catalogue {
	t.Helper()
	c, err := network.Open(network.Options{
		Dir: filepath.Join(root, "net.d"), Path: []string{filepath.Join(root, "bin")},
		Store: state.ForBoot(filepath.Join(root, "run"), "11111111-1111-1111-1111-111111111111"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t *testing.T, c *network.Catalogue, spec network.CreateSpec) *network.Network {
	t.Helper()
	n, err := c.Create(spec)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func subnet(s string) network.Subnet { return network.Subnet{Subnet: netip.MustParsePrefix(s)} }

// strangers' plugins are shell scripts: what a CNI runtime sees of a plugin is
// a file that is executed. Each logs its calls beside itself.
const (
	// link makes an interface with an address and a default route.
	linkPlugin = `
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS" >> "$0.log"
cat > "$0.stdin"
case $CNI_COMMAND in
ADD)
  nsenter --net="$CNI_NETNS" sh -e <<END
  ip link add $CNI_IFNAME type veth peer name x$CNI_IFNAME
  ip link set $CNI_IFNAME up
  ip link set x$CNI_IFNAME up
  ip address add ADDRESS dev $CNI_IFNAME
  ip route add default via GATEWAY dev $CNI_IFNAME 2>/dev/null || true
END
  echo '{"cniVersion":"1.0.0","interfaces":[{"name":"'$CNI_IFNAME'","mac":"02:00:00:00:00:09","sandbox":"'$CNI_NETNS'"}],
    "ips":[{"interface":0,"address":"ADDRESS","gateway":"GATEWAY"}],"routes":[{"dst":"0.0.0.0/0"}]}' ;;
DEL)
  [ -z "$CNI_NETNS" ] || nsenter --net="$CNI_NETNS" ip link delete $CNI_IFNAME 2>/dev/null || true ;;
esac
`
	// pass hands prevResult on.
	passPlugin = `
echo "$CNI_COMMAND" >> "$0.log"
cat > "$0.stdin"
[ $CNI_COMMAND != ADD ] || sed 's/.*"prevResult":\({.*}\),"runtimeConfig.*/\1/; s/.*"prevResult":\({.*}\),"type.*/\1/' "$0.stdin"
`
	failPlugin = `
echo "$CNI_COMMAND" >> "$0.log"
[ $CNI_COMMAND = DEL ] || { echo '{"cniVersion":"1.0.0","code":107,"msg":"out of order"}'; exit 1; }
`
)

// stranger is a network whose plugins somebody else wrote.
type stranger struct {
	root string
}

func newStranger(t *testing.T) *stranger {
	s := &stranger{root: t.TempDir()}
	for _, dir := range []string{"net.d", "bin"} {
		if err := os.Mkdir(filepath.Join(s.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *stranger) plugin(t *testing.T, name, script string) {
	t.Helper()
	s.write(t, "bin/"+name, "#!/bin/bash\n"+script, 0o755)
}

// linkPlugin adds a plugin that makes interfaces with the address.
func (s *stranger) linkPlugin(t *testing.T, name, address, gateway string) {
	t.Helper()
	s.plugin(t, name, strings.NewReplacer("ADDRESS", address, "GATEWAY", gateway).Replace(linkPlugin))
}

func (s *stranger) network(t *testing.T, name string, plugins ...string) {
	t.Helper()
	var list []string
	for _, p := range plugins {
		list = append(list, fmt.Sprintf(`{"type":%q,"capabilities":{"portMappings":true}}`, p))
	}
	s.write(t, "net.d/50-"+name+".conflist", fmt.Sprintf(`{"cniVersion":"1.0.0","name":%q,"plugins":[%s]}`, name, strings.Join(list, ",")), 0o644)
}

func (s *stranger) write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.root, name), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func (s *stranger) log(t *testing.T, plugin string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.root, "bin", plugin+".log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(raw)
}

// on runs fn inside the host and fails the test with its error.
func on(t *testing.T, h *nettest.Host, fn func() error) {
	t.Helper()
	if err := h.Do(fn); err != nil {
		t.Fatal(err)
	}
}
