package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// contender is a way to attach a container: add and del are timed.
type contender struct {
	name string
	add  func(id int, netns string) error
	del  func(id int, netns string) error
	peak int64 // memory of the largest of its processes, in KiB

	ports int // that each container publishes; 0 is one
	over  int // so many networks, each with a bridge of its own; 0 is one
}

const firstPort = 10000

// hostPort is the first of the container's ports on the host.
func (c *contender) hostPort(id int) int { return firstPort + id*max(c.ports, 1) }

// runtimeConfig publishes the container's ports, all to its port 80.
func (c *contender) runtimeConfig(id int) map[string]any {
	var mappings []map[string]any
	for i := range max(c.ports, 1) {
		mappings = append(mappings, map[string]any{"hostPort": c.hostPort(id) + i, "containerPort": 80, "protocol": "tcp"})
	}
	return map[string]any{"portMappings": mappings}
}

func newContender(name string, dirs directories) *contender {
	c := &contender{name: name}
	switch name {
	case "many-ports":
		c.ports = manyPorts
		fallthrough
	case "berth", "one-port", tcpBerth, tcpCalledBerth:
		c.chain(dirs.berth, []map[string]any{{
			"type": "bridge", "bridge": "br0", "isDefaultGateway": true, "ipMasq": true,
			"ipam": map[string]any{"type": "berth-ipam", "ranges": [][]map[string]any{{{"subnet": "10.9.0.0/16"}}}},
		}})
	case "berth-spread":
		c.over = networksN
		c.chain(dirs.berth, []map[string]any{{
			"type": "bridge", "isDefaultGateway": true, "ipMasq": true, "ipam": map[string]any{"type": "berth-ipam"},
		}})
	case "berth-plain":
		c.chain(dirs.berth, []map[string]any{{
			"type": "bridge", "bridge": "br0", "isDefaultGateway": true, "ipMasq": true, "noports": true,
			"ipam": map[string]any{"type": "berth-ipam", "ranges": [][]map[string]any{{{"subnet": "10.9.0.0/16"}}}},
		}})
	case "upstream":
		c.chain(dirs.upstream, []map[string]any{upstreamBridge, {"type": "portmap"}, {"type": "firewall", "ingressPolicy": "same-bridge"}})
	case "upstream-plain":
		c.chain(dirs.upstream, []map[string]any{upstreamBridge})
	case "macvlan":
		c.chain(dirs.berth, macvlanConf("berth-ipam"))
	case "upstream-macvlan":
		c.chain(dirs.upstream, macvlanConf("host-local"))
	case "floor":
		c.floor(dirs.floor)
	case "netavark":
		c.netavark()
	case tcpByHand, tcpCalledByHand, tcpCalledMasq:
		c.byHand()
	case "run-bridge", "run-none", "run-runc":
		c.runs(dirs)
	}
	return c
}

var upstreamBridge = map[string]any{
	"type": "bridge", "bridge": "br0", "isDefaultGateway": true, "ipMasq": true, "noports": true,
	"ipam": map[string]any{"type": "host-local", "ranges": [][]map[string]any{{{"subnet": "10.9.0.0/16"}}}},
}

// chain calls plugins as a runtime does: each gets the result of the one
// before, and DEL goes backwards.
func (c *contender) chain(dir string, list []map[string]any) {
	results := map[int]json.RawMessage{}
	c.add = func(id int, netns string) error {
		var prev json.RawMessage
		for _, conf := range list {
			out, err := c.plugin(dir, "ADD", id, netns, conf, prev)
			if err != nil {
				return err
			}
			prev = out
		}
		resultsLock.Lock()
		results[id] = prev
		resultsLock.Unlock()
		return nil
	}
	c.del = func(id int, netns string) error {
		resultsLock.Lock()
		prev := results[id]
		resultsLock.Unlock()
		for i := len(list) - 1; i >= 0; i-- {
			if _, err := c.plugin(dir, "DEL", id, netns, list[i], prev); err != nil {
				return err
			}
		}
		return nil
	}
}

func (c *contender) plugin(dir, command string, id int, netns string, conf map[string]any, prev json.RawMessage) ([]byte, error) {
	full := map[string]any{"cniVersion": "1.0.0", "name": "bench"}
	for k, v := range conf {
		full[k] = v
	}
	if full["noports"] == nil {
		full["runtimeConfig"] = c.runtimeConfig(id)
	}
	if prev != nil {
		full["prevResult"] = prev
	}
	if c.over > 0 {
		c.spread(full, id%c.over)
	}
	stdin, err := json.Marshal(full)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(dir + "/" + conf["type"].(string))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, fmt.Sprintf("CNI_CONTAINERID=c%d", id),
		"CNI_NETNS="+netns, "CNI_IFNAME=eth0", "CNI_PATH="+dir)
	cmd.Stdin = bytes.NewReader(stdin)
	return c.run(cmd)
}

// spread makes a configuration that of the nth network.
func (c *contender) spread(conf map[string]any, n int) {
	conf["name"], conf["bridge"] = fmt.Sprintf("bench%d", n), fmt.Sprintf("br%d", n)
	conf["ipam"].(map[string]any)["subnet"] = fmt.Sprintf("10.%d.0.0/16", 9+n)
}

func (c *contender) floor(program string) {
	name := func(id int) string { return fmt.Sprintf("v%d", id) }
	c.add = func(id int, netns string) error {
		_, err := c.run(exec.Command(program, "add", netns, fmt.Sprint(c.hostPort(id)), name(id)))
		return err
	}
	c.del = func(id int, _ string) error {
		_, err := c.run(exec.Command(program, "del", fmt.Sprint(c.hostPort(id)), name(id)))
		return err
	}
}

func (c *contender) run(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil { // it did not start
		return nil, fmt.Errorf("%w: run make build first", err)
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		resultsLock.Lock()
		c.peak = max(c.peak, usage.Maxrss)
		resultsLock.Unlock()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w: %s%s", c.name, cmd.Path, err, stdout.String(), stderr.String())
	}
	return stdout.Bytes(), nil
}

func timed(fn func() error) (time.Duration, error) {
	start := time.Now()
	err := fn()
	return time.Since(start), err
}
