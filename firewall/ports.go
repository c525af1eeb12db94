package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// ErrPortTaken says that another endpoint or a process owns a host port.
var ErrPortTaken = errors.New("host port is taken")

// The bucket of host ports has two kinds of keys: 'p', protocol, port → the
// claims on it, and 'o', endpoint → the mappings it has claimed.
var portsBucket = []byte("ports")

// claim is one owner of a port. Claims on different addresses coexist; one
// without an address is on all of them.
type claim struct {
	HostIP netip.Addr   `json:"ip,omitzero"`
	Owner  endpoint.Key `json:"owner"`
}

// ClaimPorts records that the endpoint owns the host ports, or fails with
// ErrPortTaken and names the owner, and then claims none.
func ClaimPorts(tx *state.Tx, key endpoint.Key, ports []plugins.PortMapping) error {
	if len(ports) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(portsBucket)
	if err != nil {
		return fmt.Errorf("claim host ports: %w", err)
	}
	mine, err := coldjson.Marshal(ports)
	if err != nil {
		return fmt.Errorf("claim host ports: %w", err)
	}
	// The caller's transaction is undone when this fails, so nothing stays.
	for i := range ports {
		if err := claimMapping(tx, b, key, &ports[i]); err != nil {
			return err
		}
	}
	return b.Put(ownerKey(key), mine)
}

func claimMapping(tx *state.Tx, b bucket, key endpoint.Key, m *plugins.PortMapping) error {
	if err := ValidateMapping(m); err != nil {
		return err
	}
	for i := range count(m) {
		if err := claimPort(tx, b, key, m, m.HostPort+i); err != nil {
			return err
		}
	}
	return nil
}

func claimPort(tx *state.Tx, b bucket, key endpoint.Key, m *plugins.PortMapping, port uint16) error {
	claims, err := readClaims(b, portKey(m.Protocol, port))
	if err != nil {
		return err
	}
	for _, c := range claims {
		if overlap(c.HostIP, m.HostIP) {
			return plugins.Errorf(plugins.CodeTryAgain, "publish port %s: %w by %s", hostPort(m, port), ErrPortTaken, inWords(tx, c.Owner))
		}
	}
	return writeClaims(b, portKey(m.Protocol, port), append(claims, claim{m.HostIP, key}))
}

// inWords names the container of a claim as its users do.
func inWords(tx *state.Tx, owner endpoint.Key) string {
	name := owner.ContainerID
	if r, err := endpoint.Get(tx, owner); err == nil && r.Name != "" && r.Name != name {
		name += " (" + r.Name + ")"
	}
	return fmt.Sprintf("container %s on network %s", name, owner.Network)
}

// ReleasePorts gives up every host port of the endpoint. None is success.
func ReleasePorts(tx *state.Tx, key endpoint.Key) error {
	b := tx.Bucket(portsBucket)
	if b == nil {
		return nil
	}
	raw := b.Get(ownerKey(key))
	if raw == nil {
		return nil
	}
	var ports []plugins.PortMapping
	if err := coldjson.Unmarshal(raw, &ports); err != nil {
		return fmt.Errorf("release host ports of %s: %w", key, err)
	}
	for i := range ports {
		m := &ports[i]
		for j := range count(m) {
			if err := releasePort(b, key, portKey(m.Protocol, m.HostPort+j)); err != nil {
				return err
			}
		}
	}
	return b.Delete(ownerKey(key))
}

func releasePort(b bucket, key endpoint.Key, port []byte) error {
	claims, err := readClaims(b, port)
	if err != nil {
		return err
	}
	return writeClaims(b, port, slices.DeleteFunc(claims, func(c claim) bool { return c.Owner == key }))
}

// bucket is what this file uses of bbolt's.
type bucket interface {
	Get(key []byte) []byte
	Put(key, value []byte) error
	Delete(key []byte) error
}

func readClaims(b bucket, port []byte) (claims []claim, err error) {
	raw := b.Get(port)
	if raw == nil {
		return nil, nil
	}
	if err := coldjson.Unmarshal(raw, &claims); err != nil {
		return nil, fmt.Errorf("read claims of host port: %w", err)
	}
	return claims, nil
}

func writeClaims(b bucket, port []byte, claims []claim) error {
	if len(claims) == 0 {
		return b.Delete(port)
	}
	raw, err := coldjson.Marshal(claims)
	if err != nil {
		return fmt.Errorf("claim host port: %w", err)
	}
	return b.Put(port, raw)
}

func portKey(protocol string, port uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{'p', protocols[protocol]}, port)
}

func ownerKey(k endpoint.Key) []byte {
	return []byte("o" + k.Network + "\x00" + k.ContainerID + "\x00" + k.IfName)
}

// overlap tells whether a port on the two addresses would be the same one. The
// invalid address is every address, 0.0.0.0 and :: all of their family.
func overlap(a, b netip.Addr) bool {
	switch {
	case !a.IsValid() || !b.IsValid():
		return true
	case a.Is4() != b.Is4():
		return false
	}
	return a == b || a.IsUnspecified() || b.IsUnspecified()
}

// hostPort is a mapping's host side in words.
func hostPort(m *plugins.PortMapping, port uint16) string {
	if m.HostIP.IsValid() {
		return fmt.Sprintf("%s/%s", netip.AddrPortFrom(m.HostIP, port), m.Protocol)
	}
	return fmt.Sprintf("%d/%s", port, m.Protocol)
}

// ValidateMapping refuses what cannot be published.
func ValidateMapping(m *plugins.PortMapping) error {
	n := int(count(m))
	switch {
	case protocols[m.Protocol] == 0:
		return plugins.Errorf(plugins.CodeInvalidConfig, "portMappings: protocol %q is none of tcp, udp, sctp", m.Protocol)
	case m.HostPort == 0 || m.ContainerPort == 0:
		return plugins.Errorf(plugins.CodeInvalidConfig, "portMappings: port 0 cannot be published (hostPort %d, containerPort %d)", m.HostPort, m.ContainerPort)
	case int(m.HostPort)+n > 1<<16 || int(m.ContainerPort)+n > 1<<16:
		return plugins.Errorf(plugins.CodeInvalidConfig, "portMappings: a range of %d ports from hostPort %d to containerPort %d passes 65535", n, m.HostPort, m.ContainerPort)
	case m.HostIP.IsMulticast():
		return plugins.Errorf(plugins.CodeInvalidConfig, "portMappings: hostIP %s is a multicast address", m.HostIP)
	}
	return nil
}
