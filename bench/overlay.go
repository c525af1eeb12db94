package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// clusterBenchmark is a benchmark of package agent, which makes the hosts,
// their agents and etcd: how often it is repeated, and what its figures mean.
type clusterBenchmark struct {
	name, times string
	rows        []clusterRow
}

type clusterRow struct{ unit, what, wanted string }

var clusterBenchmarks = []clusterBenchmark{
	{"Convergence", "200x", []clusterRow{
		{"p50-ms", "three hosts: ADD's return on one to the first connection from another, median", ""},
		{"p99-ms", "the same, 99th percentile", "≤ 100 ms"},
	}},
	{"Throughput", "60x", []clusterRow{{"ratio", "TCP throughput, overlay to a VXLAN made by hand", "≥ 0.97"}}},
	{"EncryptedThroughput", "10x", []clusterRow{
		{"ratio", "TCP throughput, encrypted overlay to one in clear text, by wireguard-go where the kernel has no WireGuard", ""},
		{"Gbit/s", "the same in Gbit/s", ""},
	}},
	{"Add", "100x", []clusterRow{
		{"overlay-ms", "ADD on an overlay, median", ""},
		{"ratio", "ADD, overlay to bridge", "≤ 1.3"},
	}},
	{"HundredHosts", "5x", []clusterRow{
		{"complete-ms", "100 hosts with 100 endpoints each: a new agent's start until its kernel knows all, longest", "≤ 2,000 ms"},
		{"peak-MB", "the most memory that it took", "≤ 60 MB"},
		{"median-news-ms", "an ADD's begin until all agents know of it, 30 of them, median", ""},
		{"news-ms", "the same, longest", "≤ 200 ms"},
	}},
}

// overlay measures overlays of several hosts with the benchmarks of package
// agent.
func (r *report) overlay(directories) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n| overlay, etcd control plane | measured | wanted |\n|---|---|---|\n")
	for _, bench := range clusterBenchmarks {
		cmd := exec.Command("go", "test", "./agent", "-run", "^$", "-bench", "^Benchmark"+bench.name+"$", "-benchtime", bench.times, "-timeout", "10m")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("benchmark %s: %w: %s", bench.name, err, out)
		}
		figures := readFigures(string(out), "Benchmark"+bench.name)
		for _, row := range bench.rows {
			value, ok := figures[row.unit]
			if !ok {
				return fmt.Errorf("benchmark %s: no %s in %s", bench.name, row.unit, out)
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", row.what, withUnit(value, row.unit), row.wanted)
		}
	}
	r.cluster = b.String()
	return nil
}

// readFigures takes a benchmark's line of go test apart: a name, a count, and
// then pairs of a value and its unit.
func readFigures(out, name string) map[string]float64 {
	figures := map[string]float64{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], name) {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
				figures[fields[i+1]] = value
			}
		}
	}
	return figures
}

func withUnit(value float64, unit string) string {
	switch {
	case strings.HasSuffix(unit, "-ms"):
		return fmt.Sprintf("%.1f ms", value)
	case strings.HasSuffix(unit, "-MB"):
		return fmt.Sprintf("%.0f MB", value)
	}
	return fmt.Sprintf("%.2f", value)
}
