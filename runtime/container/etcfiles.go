package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// etcFiles are the files that every container gets of its own, bound over
// those of the image.
var etcFiles = []string{"hosts", "hostname", "resolv.conf"}

func (s *supervisor) writeEtcFiles() ([]specs.Mount, error) {
	c := s.c
	resolv, err := s.resolvConf()
	if err != nil {
		return nil, fmt.Errorf("make the container's /etc/resolv.conf: %w", err)
	}
	hosts := hostsFile(c.Hostname, s.st.Endpoints)
	if s.names.client.Host {
		if raw, err := os.ReadFile("/etc/hosts"); err == nil {
			hosts = strings.TrimRight(string(raw), "\n") + "\n"
		}
	}
	contents := map[string]string{"hosts": hosts, "hostname": c.Hostname + "\n", "resolv.conf": resolv}
	var mounts []specs.Mount
	for _, name := range etcFiles {
		path := filepath.Join(c.Dir(), name)
		if err := os.WriteFile(path, []byte(contents[name]), 0o644); err != nil {
			return nil, fmt.Errorf("write the container's /etc/%s: %w", name, err)
		}
		mounts = append(mounts, specs.Mount{Destination: "/etc/" + name, Type: "bind", Source: path, Options: []string{"rbind", "rprivate"}})
	}
	return mounts, s.followHosts()
}

func hostsFile(hostname string, endpoints []Endpoint) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	b.WriteString("fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	short, _, dotted := strings.Cut(hostname, ".")
	for _, e := range endpoints {
		for _, a := range e.Addresses {
			fmt.Fprintf(&b, "%s\t%s", a.Addr(), hostname)
			if dotted {
				b.WriteString(" " + short)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}
