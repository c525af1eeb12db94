package agent

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-net/berth/state"
)

// instanceOf is a random identity that lives as long as this boot, by which
// the cluster tells this host from another of its name.
func instanceOf(store *state.Store) (string, error) {
	path := filepath.Join(store.Dir(), "instance")
	if raw, err := os.ReadFile(path); err == nil && len(raw) == 32 {
		return string(raw), nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read instance: %w", err)
	}
	if err := os.MkdirAll(store.Dir(), 0o700); err != nil {
		return "", fmt.Errorf("create state directory: %w", err)
	}
	raw := make([]byte, 16)
	rand.Read(raw)
	id := hex.EncodeToString(raw)
	if err := os.WriteFile(path, []byte(id), 0o600); err != nil {
		return "", fmt.Errorf("write instance: %w", err)
	}
	return id, nil
}

// addressOf resolves an etcd URL's host.
func addressOf(server string) (netip.Addr, error) {
	host := server
	if u, err := url.Parse(server); err == nil && u.Host != "" {
		host = u.Host
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return a, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil || len(ips) == 0 {
		return netip.Addr{}, fmt.Errorf("resolve %s: %w", host, err)
	}
	a, _ := netip.AddrFromSlice(ips[0])
	return a.Unmap(), nil
}
