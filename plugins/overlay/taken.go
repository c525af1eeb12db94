package overlay

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/plugins"
)

// whenTaken is for an ADD under whose hands a device of the network was removed:
// the next one makes it again, if the agent has not by then.
func (w *wiring) whenTaken(err error) error {
	var has *plugins.Error
	if errors.As(err, &has) || !w.isTaken(err) {
		return err
	}
	return plugins.Errorf(plugins.CodeTryAgain, "a device of the network was removed meanwhile: %w", err)
}

// isTaken goes by the error where that says that something is gone. Of a master
// that is gone, or of a port without one, the kernel says that the request is
// wrong, as it does of many a thing that another try does not mend: then the
// devices tell. A VXLAN device that is not there may be one that cannot be made.
func (w *wiring) isTaken(err error) bool {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return true
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		return false
	}
	gone := func(name string, index int) bool {
		d, err := w.host.Device(name)
		return errors.Is(err, netdev.ErrNotFound) || err == nil && index != 0 && d.Index != index
	}
	return gone(w.Bridge, w.served.Bridge) || w.served.VXLAN != 0 && gone(w.vxlanName(), w.served.VXLAN)
}
