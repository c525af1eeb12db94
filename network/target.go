package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins/attach"
)

// Beginnings of a reference that names a namespace rather than a container.
const (
	pidPrefix   = "pid:"
	netnsPrefix = "netns:"
)

// Resolve finds a container by what people write: the name or id of a
// container of berth or of one that a CNI runtime has attached, pid:N, or
// netns:PATH. Whatever names one namespace gives one id, so what was
// connected as pid:N can be disconnected as netns:PATH.
func (c *Catalogue) Resolve(ctx context.Context, ref string) (Container, error) {
	if pid, ok := strings.CutPrefix(ref, pidPrefix); ok {
		n, err := strconv.ParseUint(pid, 10, 31)
		if err != nil || n == 0 {
			return Container{}, fmt.Errorf("container %q: %w: use pid:N with the number of a process", ref, ErrInvalid)
		}
		return c.resolveNetNS(fmt.Sprintf("/proc/%d/ns/net", n), ref)
	}
	if path, ok := strings.CutPrefix(ref, netnsPrefix); ok {
		return c.resolveNetNS(path, ref)
	}
	if c.containers != nil {
		found, err := c.containers.Container(ctx, ref)
		if !errors.Is(err, ErrNoContainer) {
			return found, err
		}
	}
	return c.resolveRecord(ref)
}

func (c *Catalogue) resolveNetNS(path, ref string) (Container, error) {
	ns, err := netns.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return Container{}, fmt.Errorf("container %q: %w: %w", ref, ErrNoContainer, err)
	}
	if err != nil {
		return Container{}, fmt.Errorf("container %q: %w", ref, err)
	}
	defer ns.Close()
	id, err := ns.ID()
	if err != nil {
		return Container{}, err
	}
	records, err := c.Endpoints("")
	if err != nil {
		return Container{}, err
	}
	for _, r := range records {
		if r.NetNSID == id && r.Alive() {
			return Container{ID: r.ContainerID, Name: r.Name, NetNS: r.NetNS}, nil
		}
	}
	return Container{ID: "netns-" + id.String(), Name: plainName(ref), NetNS: lasting(path, id)}, nil
}

// plainName makes pid:N or netns:PATH a name that a host name may have.
func plainName(ref string) string {
	ref = strings.TrimPrefix(ref, netnsPrefix)
	name := strings.ReplaceAll(ref[strings.LastIndexByte(ref, '/')+1:], ":", "-")
	if !validName(name) || name == "net" {
		return ""
	}
	return name
}

// lasting is a path at which the namespace is pinned, where there is one: a
// process may end before its namespace does.
func lasting(path string, id netns.ID) string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return path
	}
	defer f.Close()
	// proc(5): field 4 is the mount's root, 5 where it is mounted.
	root := "net:[" + id.String() + "]"
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || fields[3] != root || strings.Contains(fields[4], `\`) {
			continue
		}
		r := endpoint.Record{NetNS: fields[4], NetNSID: id}
		if r.Alive() {
			return fields[4]
		}
	}
	return path
}

// resolveRecord finds the container of another runtime among the endpoints.
func (c *Catalogue) resolveRecord(ref string) (Container, error) {
	records, err := c.Endpoints("")
	if err != nil {
		return Container{}, err
	}
	var found *endpoint.Record
	for _, r := range records {
		switch {
		case r.ContainerID == ref || r.Name == ref:
		case len(ref) >= minIDLen && strings.HasPrefix(r.ContainerID, ref):
		default:
			continue
		}
		if found != nil && found.ContainerID != r.ContainerID {
			return Container{}, fmt.Errorf("container %q: %w: it may be %s or %s", ref, ErrInvalid, found.ContainerID, r.ContainerID)
		}
		found = r
	}
	if found == nil {
		return Container{}, fmt.Errorf("container %q: %w; of another runtime give pid:N or netns:PATH", ref, ErrNoContainer)
	}
	container := Container{ID: found.ContainerID, Name: found.Name}
	if found.Alive() {
		container.NetNS = found.NetNS
	}
	return container, nil
}

// Endpoints are the attachments of a network, or all where network is empty,
// whoever made them.
func (c *Catalogue) Endpoints(network string) ([]*endpoint.Record, error) {
	return attach.Records(c.store, network)
}
