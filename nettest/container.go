package nettest

import (
	"os"
	"sync"

	"github.com/berth-net/berth/netns"
)

// Container is a network namespace that a host pins at Path, as a container
// runtime does before it calls CNI.
type Container struct {
	*Host        // Do, Run and the rest act inside the container
	Path  string // valid in the host's mount namespace

	remove func()
}

// NewContainer pins a new namespace at /run/netns/NAME of the host. Its
// loopback is down, as the kernel makes it.
func (h *Host) NewContainer(name string) *Container {
	h.t.Helper()
	c := &Container{Host: &Host{Name: name, t: h.t}, Path: "/run/netns/" + name}
	err := h.Do(func() (err error) {
		if c.net, err = netns.Create(c.Path); err != nil {
			return err
		}
		c.mnt, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	})
	if err != nil {
		h.t.Fatalf("make container %s: %v", name, err)
	}
	c.remove = sync.OnceFunc(func() {
		if err := h.Do(func() error { return netns.Unpin(c.Path) }); err != nil {
			h.t.Error(err)
		}
		c.close()
	})
	h.t.Cleanup(c.remove)
	return c
}

// Remove unpins the namespace before the test ends, as a runtime does with a
// container that is gone. The namespace dies if nothing runs in it.
func (c *Container) Remove() { c.remove() }
