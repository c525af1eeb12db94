package mesh

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/berth-net/berth/netdev"
)

// userspace is wireguard-go on a TUN device, configured by the socket that
// wg(8) knows too.
type userspace struct {
	dev    *device.Device
	socket net.Listener
}

func openUserspace(dev *netdev.Handle, mtu int, log *slog.Logger) (*userspace, error) {
	file, err := dev.OpenTUN(Device)
	if err != nil {
		return nil, err
	}
	t, err := tun.CreateTUNFromFile(file, mtu)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open TUN device %s: %w", Device, err), file.Close())
	}
	u := &userspace{dev: device.NewDevice(t, conn.NewDefaultBind(), logger(log))}
	if err := u.listen(); err != nil {
		u.dev.Close()
		return nil, fmt.Errorf("open control socket of %s: %w", Device, err)
	}
	if err := u.dev.Up(); err != nil {
		u.close()
		return nil, fmt.Errorf("start wireguard-go: %w", err)
	}
	return u, nil
}

func (u *userspace) listen() error {
	file, err := ipc.UAPIOpen(Device)
	if err != nil {
		return err
	}
	defer file.Close()
	if u.socket, err = ipc.UAPIListen(Device, file); err != nil {
		return err
	}
	go func() {
		for {
			c, err := u.socket.Accept()
			if err != nil {
				return
			}
			go u.dev.IpcHandle(c)
		}
	}()
	return nil
}

// ended tells that the device is gone: somebody deleted it.
func (u *userspace) ended() bool {
	select {
	case <-u.dev.Wait():
		return true
	default:
		return false
	}
}

func (u *userspace) close() {
	u.socket.Close()
	u.dev.Close()
}

func logger(log *slog.Logger) *device.Logger {
	return &device.Logger{
		Verbosef: func(format string, args ...any) { log.Debug("wireguard: " + fmt.Sprintf(format, args...)) },
		Errorf:   func(format string, args ...any) { log.Warn("wireguard: " + fmt.Sprintf(format, args...)) },
	}
}
