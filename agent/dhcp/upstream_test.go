package dhcp_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/bridge"
	"github.com/berth-net/berth/plugins/macvlan"
	"github.com/berth-net/berth/state"
	"github.com/berth-net/berth/test/upstream"
)

// upstreamPlugin is the directory of the CNI project's plugin dhcp.
func upstreamPlugin(t *testing.T) string {
	t.Helper()
	dir, err := upstream.Plugins("ipam/dhcp")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func newBridge(s *state.Store) plugins.Driver  { return bridge.New(s) }
func newMacvlan(s *state.Store) plugins.Driver { return macvlan.New(s) }

// uplink puts the host's end of the segment into the bridge br0.
func (s *segment) uplink() {
	s.Helper()
	s.host.Run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
	s.host.Run("ip", "link", "set", "br0", "up")
	s.host.Run("ip", "address", "flush", "dev", "eth0")
	s.host.Run("ip", "link", "set", "eth0", "master", "br0")
}

const (
	macvlanKeys = `{"cniVersion":"1.0.0","name":"lan","type":"macvlan","master":"eth0","ipam":`
	bridgeKeys  = `{"cniVersion":"1.0.0","name":"lan","type":"bridge","bridge":"br0","ipam":`
)

// The drivers delegate to that plugin, with its own daemon. Its DHCPRELEASE is
// a packet to one machine in a frame to all, which the server's kernel drops,
// so that the server cannot tell of it.
func TestThePluginOfTheCNIProjectWithItsDaemon(t *testing.T) {
	t.Parallel()
	bin := upstreamPlugin(t)
	s := newWire(t)
	s.startServer()
	socket := filepath.Join(filepath.Dir(s.log), "cni-dhcp.sock")
	s.host.Background(filepath.Join(bin, "dhcp"), "daemon", "-socketpath", socket)
	nettest.Eventually(t, "the daemon listens", func() error { _, err := os.Stat(socket); return err })
	ipam := `{"type":"dhcp","daemonSocketPath":"` + socket + `"}}`
	s.attachAndDetach(bin, macvlanKeys+ipam, newMacvlan)
	s.uplink()
	s.attachAndDetach(bin, bridgeKeys+ipam, newBridge)
}

// The same plugin with our agent in its daemon's place; then IPv6 as well.
func TestThePluginOfTheCNIProjectAsksTheAgent(t *testing.T) {
	t.Parallel()
	bin := upstreamPlugin(t)
	s := newSegment(t)
	s.attachAndDetach(bin, macvlanKeys+`{"type":"dhcp","daemonSocketPath":"`+s.socket+`"}}`, newMacvlan)
	s.attachAndDetach(bin, macvlanKeys+`{"type":"dhcp","daemonSocketPath":"`+s.socket+`","ipv6":true,"routes":[{"dst":"2001:db8::/64"}]}}`, newMacvlan)
	s.released(true)
	if n := len(s.records()); n != 0 {
		t.Errorf("%d records are left", n)
	}
}
