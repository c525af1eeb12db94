package mesh_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
)

// An agent that is started again goes on with the kernel's device, its key and
// its address, and removes it in the end.
func TestTheKernelsDeviceOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	nettest.RequireKernel(t, nettest.WireGuard)
	h, dir, address := nettest.NewHost(t, "h"), t.TempDir(), mesh.Address("h")
	var index [2]int
	var keys [2]string
	if err := h.Do(func() error {
		dev, err := netdev.Here()
		if err != nil {
			return err
		}
		defer dev.Close()
		for life := range index {
			m, err := mesh.New(dir, mesh.Options{}, slog.Default())
			if err != nil {
				return err
			}
			link, err := m.Up(dev, address, 1440)
			if err != nil {
				return err
			}
			state, err := m.State()
			if err != nil {
				return err
			}
			if state.Implementation != mesh.Kernel || link.Attrs().Alias != "berth:mesh" || link.Attrs().MTU != 1440 {
				t.Errorf("the device is %+v, of the %s", link.Attrs(), state.Implementation)
			}
			index[life], keys[life] = link.Attrs().Index, m.PublicKey()
			if life == 0 {
				m.Close()
				continue
			}
			return m.Down(dev)
		}
		return errors.New("unreachable")
	}); err != nil {
		t.Fatal(err)
	}
	if index[0] != index[1] || keys[0] != keys[1] {
		t.Errorf("devices %v, keys %v: want one of each", index, keys)
	}
	if out := h.Run("ip", "-br", "link"); strings.Contains(out, mesh.Device) {
		t.Errorf("the device is left:\n%s", out)
	}
}
