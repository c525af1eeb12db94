package dns

import (
	"os"
	"sync"
	"time"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/resolvconf"
)

// hostFile is the host's resolv.conf, read again when it has changed.
type hostFile struct {
	path string

	mu    sync.Mutex
	info  os.FileInfo
	since time.Time // when it was read
	dns   plugins.DNS
}

// read returns what the file says now. A file that is not there, or names no
// server, means the one on the host itself (resolv.conf(5)).
func (f *hostFile) read() plugins.DNS {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err == nil && f.info != nil && f.unchanged(info) {
		return f.dns
	}
	f.info, f.since = nil, time.Now()
	f.dns, _ = resolvconf.Read(f.path)
	if err == nil {
		f.info = info
	}
	if len(f.dns.Nameservers) == 0 {
		f.dns.Nameservers = []string{"127.0.0.1"}
	}
	return f.dns
}

// unchanged also wants the file to have rested when it was read: within a
// tick of the kernel's clock two changes bear the same time.
func (f *hostFile) unchanged(now os.FileInfo) bool {
	const tick = 20 * time.Millisecond
	return os.SameFile(now, f.info) && now.Size() == f.info.Size() && now.ModTime().Equal(f.info.ModTime()) &&
		f.since.Sub(now.ModTime()) > tick
}
