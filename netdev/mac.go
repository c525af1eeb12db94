package netdev

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// identities name this host: systemd's lasts (machine-id(5)), and the boot's
// does where there is none.
var identities = []string{"/etc/machine-id", "/proc/sys/kernel/random/boot_id"}

// StableMAC is the hardware address of an attachment: always the same for the
// same one, and another one on another host, even where the hosts count their
// containers alike. It is unicast and locally administered (IEEE 802-2014,
// 8.2). The kernel's random ones change at every start and leave neighbours
// with a stale entry.
func StableMAC(network, container, ifname string) (net.HardwareAddr, error) {
	host, err := hostIdentity()
	if err != nil {
		return nil, fmt.Errorf("derive MAC: %w", err)
	}
	sum := sha256.Sum256(bytes.Join([][]byte{host, []byte(network), []byte(container), []byte(ifname)}, []byte{0}))
	mac := net.HardwareAddr(sum[:etherAddrLen])
	mac[0] = mac[0]&^0x01 | 0x02
	return mac, nil
}

func hostIdentity() ([]byte, error) {
	for _, path := range identities {
		id, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if id = bytes.TrimSpace(id); len(id) > 0 && string(id) != "uninitialized" {
			return id, nil
		}
	}
	return nil, fmt.Errorf("read %q: no identity of this host", identities)
}
