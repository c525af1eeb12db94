package container

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berth-net/berth/plugins"
)

// etcFiles are the files that every container gets of its own, bound over
// those of the image.
var etcFiles = []string{"hosts", "hostname", "resolv.conf"}

func (c *Container) writeEtcFiles(endpoints []Endpoint, hostNetwork bool) ([]specs.Mount, error) {
	resolv, err := c.resolvConf(endpoints, hostNetwork)
	if err != nil {
		return nil, err
	}
	hosts := hostsFile(c.Hostname, endpoints)
	if hostNetwork {
		if raw, err := os.ReadFile("/etc/hosts"); err == nil {
			hosts = string(raw)
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
	return mounts, nil
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

// resolvConf is what the networks say, else the host's own. A container with
// a network namespace of its own cannot reach a resolver on the host's
// loopback, so such lines are left out.
func (c *Container) resolvConf(endpoints []Endpoint, hostNetwork bool) (string, error) {
	for _, e := range endpoints {
		if len(e.DNS.Nameservers) > 0 {
			return formatResolv(e.DNS), nil
		}
	}
	raw, err := os.ReadFile("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the host's resolv.conf: %w", err)
	}
	if hostNetwork {
		return string(raw), nil
	}
	return withoutLoopback(string(raw)), nil
}

func formatResolv(d plugins.DNS) string {
	var b strings.Builder
	for _, n := range d.Nameservers {
		fmt.Fprintf(&b, "nameserver %s\n", n)
	}
	if d.Domain != "" {
		fmt.Fprintf(&b, "domain %s\n", d.Domain)
	}
	if len(d.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.Search, " "))
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return b.String()
}

func withoutLoopback(resolv string) string {
	var b strings.Builder
	lines := bufio.NewScanner(strings.NewReader(resolv))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && fields[0] == "nameserver" {
			if a, err := netip.ParseAddr(fields[1]); err == nil && a.IsLoopback() {
				continue
			}
		}
		b.WriteString(lines.Text() + "\n")
	}
	return b.String()
}
