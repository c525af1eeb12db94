package overlay

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
)

// An ADD that loses the network's devices to somebody is to be tried again; one
// that another try does not mend is not.
func TestAnAddWhoseDevicesWereRemoved(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	w := &wiring{segment: &segment{Config: &Config{Bridge: "bo-front", network: "front"}}}
	if err := h.Do(func() (err error) { w.host, err = netdev.Dial(); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.host.Close() })
	expect := func(when string, err error, taken bool) {
		t.Helper()
		var coded *plugins.Error
		told := w.whenTaken(fmt.Errorf("some step: %w", err))
		if is := errors.As(told, &coded) && coded.Code == plugins.CodeTryAgain; is != taken || !errors.Is(told, err) {
			t.Errorf("%s: %v; to be tried again: %v, want %v", when, told, is, taken)
		}
	}
	for _, err := range []error{unix.ENODEV, netdev.ErrNotFound, unix.ENOENT, unix.EINVAL, unix.EOPNOTSUPP} {
		expect("without a bridge", err, true)
	}
	expect("without a bridge", unix.EPERM, false)
	expect("with a code", plugins.Errorf(plugins.CodeInvalidConfig, "%w", unix.ENODEV), false)

	h.Run("ip", "link", "add", "bo-front", "index", "70", "type", "bridge")
	expect("the VXLAN device is not made", unix.EINVAL, false)
	expect("the VXLAN device is not made", unix.ENODEV, true)
	w.served = api.Served{Bridge: 70, VXLAN: 71}
	expect("the VXLAN device is gone", unix.EOPNOTSUPP, true)
	h.Run("ip", "link", "add", "vx-front", "index", "71", "type", "bridge")
	expect("all are there", unix.EINVAL, false)
	w.served.Bridge = 69
	expect("the bridge is another", unix.EINVAL, true)
}
