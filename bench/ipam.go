package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/state"
)

const (
	ipamTurns   = 12
	ipamPerTurn = 5
	ipamNetwork = "bench"
	v4Range     = "10.9.0.0/16"
	v6Range     = "fd09::/64"
	containerNS = "/run/container"
)

// ipamCase is one plugin beside a number of leases, with its state in a
// directory of its own.
type ipamCase struct {
	plugin, subnet string
	leases         int
	dir            string
	add, del       []time.Duration
}

func ipamCases() []*ipamCase {
	return []*ipamCase{
		{plugin: "berth-ipam", subnet: v4Range, leases: 0},
		{plugin: "berth-ipam", subnet: v4Range, leases: 10},
		{plugin: "berth-ipam", subnet: v4Range, leases: 1000},
		{plugin: "berth-ipam", subnet: v4Range, leases: 10_000},
		{plugin: "berth-ipam", subnet: v4Range, leases: 65_000},
		{plugin: "berth-ipam", subnet: v6Range, leases: 0},
		{plugin: "berth-ipam", subnet: v6Range, leases: 65_000},
		{plugin: "host-local", subnet: v4Range, leases: 10},
		{plugin: "host-local", subnet: v4Range, leases: 1000},
		{plugin: "host-local", subnet: v4Range, leases: 10_000},
	}
}

// ipamInChild runs measureIPAM in namespaces of its own, where it may mount,
// and returns the table that it prints.
func ipamInChild(dirs directories) (string, error) {
	cmd := exec.Command("/proc/self/exe", "ipam", dirs.berth, dirs.upstream)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("measure IPAM: %w", err)
	}
	return string(out), nil
}

func measureIPAM(berth, upstream string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("bench", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if _, err := netns.Create(containerNS); err != nil {
		return err
	}
	cases := ipamCases()
	for i, c := range cases {
		c.dir = fmt.Sprintf("/run/case%d", i)
		if err := c.fill(); err != nil {
			return err
		}
	}
	programs := map[string]string{"berth-ipam": berth, "host-local": upstream}
	for range ipamTurns {
		for _, c := range cases {
			if err := c.turn(programs[c.plugin]); err != nil {
				return err
			}
		}
	}
	fmt.Print(ipamTable(cases))
	return nil
}

func (c *ipamCase) fill() error {
	if c.plugin == "host-local" {
		return c.fillFiles()
	}
	store, err := state.At(c.dir)
	if err != nil {
		return err
	}
	conf, err := ipam.Parse([]byte(c.object()))
	if err != nil {
		return err
	}
	const batch = 500
	for from := 0; from < max(c.leases, 1); from += batch {
		err := store.Update(func(tx *state.Tx) error {
			for i := from; i < min(from+batch, c.leases); i++ {
				key := endpoint.Key{Network: ipamNetwork, ContainerID: fmt.Sprintf("%064d", i), IfName: "eth0"}
				if _, err := ipam.Lease(tx, conf, ipam.Request{Key: key}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fillFiles writes leases as host-local keeps them: a file for each.
func (c *ipamCase) fillFiles() error {
	dir := filepath.Join(c.dir, ipamNetwork)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	last := ""
	for i := range c.leases {
		last = fmt.Sprintf("10.9.%d.%d", (i+2)/256, (i+2)%256)
		if err := os.WriteFile(filepath.Join(dir, last), fmt.Appendf(nil, "%064d\r\neth0", i), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "last_reserved_ip.0"), []byte(last), 0o600)
}

func (c *ipamCase) object() string {
	return fmt.Sprintf(`{"type":%q,"dataDir":%q,"ranges":[[{"subnet":%q}]]}`, c.plugin, c.dir, c.subnet)
}

// turn times a few ADDs and DELs with the case's state in its place.
func (c *ipamCase) turn(bin string) error {
	if err := os.MkdirAll(state.DefaultRoot, 0o755); err != nil {
		return err
	}
	if c.plugin == "berth-ipam" {
		if err := unix.Mount(c.dir, state.DefaultRoot, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", c.dir, err)
		}
		defer unix.Unmount(state.DefaultRoot, 0)
	}
	for range ipamPerTurn {
		if err := c.call(bin, "ADD", &c.add); err != nil {
			return err
		}
		if err := c.call(bin, "DEL", &c.del); err != nil {
			return err
		}
	}
	return nil
}

func (c *ipamCase) call(bin, verb string, times *[]time.Duration) error {
	cmd := exec.Command(filepath.Join(bin, c.plugin))
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"cniVersion":"1.0.0","name":%q,"type":"bridge","ipam":%s}`, ipamNetwork, c.object()))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID=new",
		"CNI_NETNS="+containerNS, "CNI_IFNAME=eth0", "CNI_PATH="+bin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	*times = append(*times, time.Since(start))
	if err != nil {
		return fmt.Errorf("%s: %s: %w: %s", c.plugin, verb, err, out.String())
	}
	if verb == "ADD" && !json.Valid(out.Bytes()) {
		return fmt.Errorf("%s: %s: it printed %s", c.plugin, verb, out.String())
	}
	return nil
}

func ipamTable(cases []*ipamCase) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## IPAM alone\n\n| plugin, range, leases | ADD median | p95 | DEL median | p95 |\n|---|---|---|---|---|\n")
	for _, c := range cases {
		fmt.Fprintf(&b, "| %s, %s, %d | %s | %s | %s | %s |\n", c.plugin, c.subnet, c.leases,
			ms(median(c.add)), ms(quantile(c.add, 0.95)), ms(median(c.del)), ms(quantile(c.del, 0.95)))
	}
	fmt.Fprintf(&b, "\n| ratio of medians | ADD | DEL | wanted |\n|---|---|---|---|\n")
	row := func(what string, x, y int, wanted string) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", what,
			ratio(median(cases[x].add), median(cases[y].add)), ratio(median(cases[x].del), median(cases[y].del)), wanted)
	}
	row("berth-ipam, /16 with 65000 leases to empty", 4, 0, "≤ 1.2")
	row("berth-ipam, IPv6 /64 with 65000 leases to empty", 6, 5, "≤ 1.2")
	row("berth-ipam to host-local, 10 leases", 1, 7, "")
	row("berth-ipam to host-local, 1000 leases", 2, 8, "")
	row("berth-ipam to host-local, 10000 leases", 3, 9, "")
	return b.String()
}
