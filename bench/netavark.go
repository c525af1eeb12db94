package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// netavarkPath is where Debian's package has it.
const netavarkPath = "/usr/lib/podman/netavark"

// netavark calls Podman's network tool. The address is given to it, as Podman
// does: it leases and records nothing.
func (c *contender) netavark() {
	call := func(verb string, id int, path string) error {
		conf, err := json.Marshal(netavarkOptions(id))
		if err != nil {
			return err
		}
		cmd := exec.Command(netavarkPath, "--config", "/run/netavark", verb, path)
		cmd.Stdin = bytes.NewReader(conf)
		_, err = c.run(cmd)
		return err
	}
	c.add = func(id int, path string) error { return call("setup", id, path) }
	c.del = func(id int, path string) error { return call("teardown", id, path) }
}

func netavarkOptions(id int) map[string]any {
	return map[string]any{
		"container_id": fmt.Sprintf("%064d", id), "container_name": fmt.Sprintf("c%d", id),
		"port_mappings": []map[string]any{{"host_ip": "", "host_port": firstPort + id, "container_port": 80, "protocol": "tcp", "range": 1}},
		"networks": map[string]any{"bench": map[string]any{
			"interface_name": "eth0", "static_ips": []string{fmt.Sprintf("10.9.%d.%d", (id+1)/256, (id+1)%256)},
		}},
		"network_info": map[string]any{"bench": map[string]any{
			"name": "bench", "id": fmt.Sprintf("%064d", 1), "driver": "bridge", "network_interface": "br0",
			"subnets":     []map[string]any{{"subnet": "10.9.0.0/16", "gateway": "10.9.0.1"}},
			"dns_enabled": false, "internal": false, "ipv6_enabled": false,
			"ipam_options": map[string]any{"driver": "host-local"},
		}},
	}
}

func netavarkVersion() string {
	out, err := exec.Command(netavarkPath, "--version").Output()
	if err != nil {
		return "netavark"
	}
	return strings.TrimSpace(string(out))
}

// podman measures the driver beside Podman's netavark, where there is one.
func (r *report) podman(dirs directories) error {
	if _, err := os.Stat(netavarkPath); err != nil {
		return fmt.Errorf("netavark: %w; install Debian's netavark", err)
	}
	return r.compare(dirs, map[string]string{"beside netavark": "berth", "netavark": "netavark"}, order{Rounds: perTurn}, turns)
}
