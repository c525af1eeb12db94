package test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// Containers that berth runs on two hosts find each other by name and by alias
// and talk, over IPv4 and IPv6, and a name goes with its container.
func TestContainersOfTwoHostsTalkByName(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	a, b := c.hosts[0], c.hosts[1]
	for _, h := range c.hosts { // nobody else is to be asked
		h.Run("sh", "-c", "echo nameserver 192.0.2.100 >/etc/resolv.conf")
	}
	// Of one family each, so that an answer tells which one it came by.
	c.berth(a, "network", "create", "-d", "overlay", "--subnet", "10.42.0.0/24", "four")
	c.berth(a, "network", "create", "-d", "overlay", "--subnet", "fd42::/64", "six")
	for _, network := range []string{"four", "six"} {
		nettest.Eventually(t, network+" on h2", func() error { _, err := c.tryBerth(b, "network", "inspect", network); return err })
	}
	dir := filepath.Join(t.TempDir(), "image")
	if err := saveDemoImage(t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	c.runOn(a, dir, "app", "--network", "four:alias=app4", "--network", "six:alias=app6")
	web := c.runOn(b, dir, "web", "--hostname", "www", "--network", "four:alias=shop4", "--network", "six:alias=shop6", "--network-alias", "shop")
	for name, family := range map[string]string{
		"web": "", "web.four": "10.42.0.", "web.six": "[fd42::", "shop4": "10.42.0.", "shop6": "[fd42::", "shop": "", "SHOP": "", "www": "", web: "", web[:12]: "",
	} {
		c.expectAnswer(a, "app", name, "web "+family)
	}
	for name, family := range map[string]string{"app": "", "app4": "10.42.0.", "app6": "[fd42::"} {
		c.expectAnswer(b, "web", name, "app "+family)
	}
	c.berth(b, "rm", "-f", "web")
	for _, name := range []string{"web", "shop4", "shop6", "shop"} {
		c.expectNoSuchHost(a, "app", name)
	}
	// Another by the same name is found.
	c.runOn(b, dir, "web", "--network", "six")
	c.expectAnswer(a, "app", "web", "web [fd42::")
	// A container that dies is gone, without a word of its runtime.
	c.berth(b, "kill", "web")
	c.expectNoSuchHost(a, "app", "web")
	c.berth(a, "rm", "-f", "app")
	c.berth(b, "rm", "-f", "web")
}

// runOn runs a container that answers HTTP with its name, and returns its id.
func (c *cluster) runOn(h *nettest.Host, imageDir, name string, args ...string) (id string) {
	c.Helper()
	args = append(append([]string{"run", "-d", "--name", name}, args...), "oci:"+imageDir, "serve", ":80", name)
	return strings.TrimSpace(c.berth(h, args...))
}

// expectAnswer: what the container gets by HTTP from a name begins with want.
func (c *cluster) expectAnswer(h *nettest.Host, container, name, want string) {
	c.Helper()
	nettest.Eventually(c.T, container+" to get "+name, func() error {
		out, err := c.tryBerth(h, "exec", container, "/httpd", "get", "http://"+name+"/")
		if err == nil && !strings.HasPrefix(out, want) {
			err = fmt.Errorf("want %q", want)
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func (c *cluster) expectNoSuchHost(h *nettest.Host, container, name string) {
	c.Helper()
	nettest.Eventually(c.T, name+" to be gone", func() error {
		out, err := c.tryBerth(h, "exec", container, "/httpd", "get", "http://"+name+"/")
		if err == nil || !strings.Contains(out, "no such host") {
			return errors.New(out)
		}
		return nil
	})
}
