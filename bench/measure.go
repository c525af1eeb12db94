package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// How much is measured. Turns of a few rounds each alternate between the
// contenders.
const (
	turns     = 20
	perTurn   = 5
	parallelN = 64
	workersN  = 16

	parallelTurns = 6 // of the above
	fewEndpoint   = 10
	manyEndoint   = 1000
	networksN     = 10 // over which they are spread, where they are not all on one
)

// series is one contender's times.
type series struct {
	add, del []time.Duration
	parallel []time.Duration
	connect  []time.Duration
	rate     []float64 // bits or answers a second
	lost     []float64 // of a hundred questions
	peak     int64
}

// report is what has been measured; what has not is absent.
type report struct {
	by        map[string]*series
	addresses string // the table of IPAM alone
	cluster   string // the table of overlays
}

// part is one step of the measurement.
type part struct {
	name string
	step func(*report, directories) error
}

var parts = []part{
	{"chain", (*report).sequential},
	{"parallel", (*report).parallelAdds},
	{"growth", (*report).growth},
	{"macvlan", (*report).macvlan},
	{"netavark", (*report).podman},
	{"ports", (*report).published},
	{"tcp", (*report).tcp},
	{"run", (*report).containers},
	{"ipam", (*report).ipam},
	{"names", (*report).names},
	{"overlay", (*report).overlay},
}

func partNames() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// choose is the parts of those names, all for none.
func choose(only string) (wanted []part, err error) {
	if only == "" {
		return parts, nil
	}
	for name := range strings.SplitSeq(only, ",") {
		i := slices.Index(partNames(), name)
		if i < 0 {
			return nil, fmt.Errorf("-only: %q is none of %s", name, strings.Join(partNames(), ", "))
		}
		wanted = append(wanted, parts[i])
	}
	return wanted, nil
}

func measure(dirs directories, wanted []part) (*report, error) {
	r := &report{by: map[string]*series{}}
	for _, p := range wanted {
		if err := p.step(r, dirs); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *report) ipam(dirs directories) (err error) {
	r.addresses, err = ipamInChild(dirs)
	return err
}

// hosts starts one host for each name; label is the series' name.
func (r *report) hosts(dirs directories, labels map[string]string) (map[string]*host, func(), error) {
	hosts := map[string]*host{}
	stop := func() {
		for _, h := range hosts {
			h.stop()
		}
	}
	for label, name := range labels {
		h, err := startHost(name, dirs)
		if err != nil {
			stop()
			return nil, nil, err
		}
		hosts[label] = h
		if r.by[label] == nil {
			r.by[label] = &series{}
		}
	}
	return hosts, stop, nil
}

func (r *report) alternate(hosts map[string]*host, order order, turns int) error {
	labels := make([]string, 0, len(hosts))
	for l := range hosts {
		labels = append(labels, l)
	}
	slices.Sort(labels)
	for turn := range turns {
		for i := range labels {
			l := labels[(turn+i)%len(labels)]
			a, err := hosts[l].do(order)
			if err != nil {
				return err
			}
			s := r.by[l]
			s.add, s.del, s.peak = append(s.add, a.Add...), append(s.del, a.Del...), max(s.peak, a.PeakKiB)
			s.connect = append(s.connect, a.Connect...)
			if order.Throughput || order.AtOnce > 1 {
				s.rate = append(s.rate, a.Rate)
				s.lost = append(s.lost, a.Lost)
			}
			if order.Parallel > 0 {
				s.parallel = append(s.parallel, a.Wall)
			}
		}
	}
	return nil
}

// compare has hosts of their own take turns at an order. The first of each
// one's containers makes what all share, and is not measured.
func (r *report) compare(dirs directories, labels map[string]string, o order, turns int) error {
	hosts, stop, err := r.hosts(dirs, labels)
	if err != nil {
		return err
	}
	defer stop()
	for _, h := range hosts {
		if _, err := h.do(order{Warm: 2}); err != nil {
			return err
		}
	}
	return r.alternate(hosts, o, turns)
}

func (r *report) sequential(dirs directories) error {
	return r.compare(dirs, map[string]string{
		"berth": "berth", "upstream": "upstream", "floor": "floor", "berth-plain": "berth-plain", "upstream-plain": "upstream-plain",
	}, order{Rounds: perTurn}, turns)
}

func (r *report) parallelAdds(dirs directories) error {
	return r.compare(dirs, map[string]string{"berth": "berth", "upstream": "upstream"}, order{Parallel: parallelN, Workers: workersN}, parallelTurns)
}

func (r *report) growth(dirs directories) error {
	hosts, stop, err := r.hosts(dirs, map[string]string{
		"at few": "berth", "at many": "berth", "floor at few": "floor", "floor at many": "floor",
		"spread at few": "berth-spread", "spread at many": "berth-spread",
	})
	if err != nil {
		return err
	}
	defer stop()
	for label, h := range hosts {
		warm := fewEndpoint
		if strings.HasSuffix(label, "many") {
			warm = manyEndoint
		}
		if _, err := h.do(order{Warm: warm}); err != nil {
			return err
		}
	}
	return r.alternate(hosts, order{Rounds: perTurn}, turns)
}

func quantile[T time.Duration | float64](d []T, q float64) T {
	if len(d) == 0 {
		return 0
	}
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

func median[T time.Duration | float64](d []T) T { return quantile(d, 0.5) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

func ratio[T time.Duration | float64](a, b T) string {
	return fmt.Sprintf("%.2f", float64(a)/float64(b))
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench`; the contenders took turns in one run, each on a host of its own.\n\n%s\n\n", machine())
	fmt.Fprintf(&b, "| | ADD median | p95 | DEL median | p95 | peak memory |\n|---|---|---|---|---|---|\n")
	for _, row := range [][2]string{
		{"berth", "berth: bridge with masquerade, isolation and one published port"},
		{"upstream", "upstream " + upstreamVersion + ": bridge + host-local + portmap + firewall"},
		{"floor", "floor: only the netlink and nftables requests"},
		{"berth-plain", "berth: bridge with masquerade"},
		{"upstream-plain", "upstream " + upstreamVersion + ": bridge + host-local with masquerade"},
		{"at few", fmt.Sprintf("berth, %d endpoints on the host", fewEndpoint)},
		{"at many", fmt.Sprintf("berth, %d endpoints on the host", manyEndoint)},
		{"spread at few", fmt.Sprintf("berth, %d endpoints on the host, on %d networks", fewEndpoint, networksN)},
		{"spread at many", fmt.Sprintf("berth, %d endpoints on the host, on %d networks", manyEndoint, networksN)},
		{"macvlan", "berth: macvlan"},
		{"upstream-macvlan", "upstream " + upstreamVersion + ": macvlan + host-local"},
		{"beside netavark", "berth: bridge, in turns with netavark"},
		{"netavark", netavarkVersion() + ": bridge with one published port, no IPAM"},
	} {
		s := r.by[row[0]]
		if s == nil || len(s.add) == 0 {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %.1f MB |\n", row[1],
			ms(median(s.add)), ms(quantile(s.add, 0.95)), ms(median(s.del)), ms(quantile(s.del, 0.95)), float64(s.peak)/1024)
	}
	b.WriteString(r.ratios())
	b.WriteString(r.runTable())
	b.WriteString(r.addresses)
	b.WriteString(r.namesTable())
	b.WriteString(r.cluster)
	return b.String()
}

func (r *report) ratios() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n| ratio of medians | measured | wanted |\n|---|---|---|\n")
	row := func(what, wanted, over, under string, of func(*series) float64) {
		if a, z := r.by[over], r.by[under]; a != nil && z != nil && of(z) > 0 {
			fmt.Fprintf(&b, "| %s | %.2f | %s |\n", what, of(a)/of(z), wanted)
		}
	}
	add := func(s *series) float64 { return float64(median(s.add)) }
	del := func(s *series) float64 { return float64(median(s.del)) }
	row("ADD, berth to floor", "≤ 1.5", "berth", "floor", add)
	row("ADD, berth to upstream's chain", "≤ 0.083", "berth", "upstream", add)
	row("DEL, berth to upstream's chain", "≤ 0.25", "berth", "upstream", del)
	row("ADD, berth to upstream, bridge and IPAM alone", "≤ 0.6", "berth-plain", "upstream-plain", add)
	row("ADD, berth to upstream, macvlan and IPAM", "≤ 0.6", "macvlan", "upstream-macvlan", add)
	row("DEL, berth to upstream, macvlan and IPAM", "≤ 1", "macvlan", "upstream-macvlan", del)
	row("ADD, berth to netavark", "", "beside netavark", "netavark", add)
	row("DEL, berth to netavark", "", "beside netavark", "netavark", del)
	row(fmt.Sprintf("connecting through a published port, %d published to one", manyPorts*portsHolder), "≤ 1.1", "many ports", "one port",
		func(s *series) float64 { return float64(median(s.connect)) })
	b.WriteString(r.tcpRatios())
	row(fmt.Sprintf("ADD at %d endpoints to %d, on %d networks", manyEndoint, fewEndpoint, networksN), "≤ 1.15", "spread at many", "spread at few", add)
	row(fmt.Sprintf("ADD at %d endpoints to %d, all on one network", manyEndoint, fewEndpoint), "≤ 1.15", "at many", "at few", add)
	row("the latter of the floor: what the kernel's part grows by", "", "floor at many", "floor at few", add)
	row(fmt.Sprintf("rate of %d ADDs by %d workers, berth to upstream", parallelN, workersN), "≥ 20", "upstream", "berth",
		func(s *series) float64 { return float64(median(s.parallel)) })
	return b.String()
}

// machine names what the figures are from.
func machine() string {
	cpu, kernel := "unknown processor", "unknown kernel"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				cpu = strings.TrimSpace(strings.TrimLeft(name, "\t: "))
				break
			}
		}
	}
	if raw, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(raw))
	}
	return fmt.Sprintf("Machine: %d × %s, Linux %s, %s, %s.", runtime.NumCPU(), cpu, kernel, runtime.Version(), time.Now().UTC().Format("2006-01-02"))
}
