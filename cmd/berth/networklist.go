package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/network"
)

// networkRow is a line of berth network ls, with Docker's names of the fields.
type networkRow struct {
	CreatedAt, Driver, ID, IPv6, Internal, Labels, Name, Scope string

	Subnets, Origin, File string
	Containers            int // attached on this host
	labels                map[string]string
}

// Label is one label's value, for templates.
func (r networkRow) Label(key string) string { return r.labels[key] }

var networkColumns = columns{
	"CreatedAt": "CREATED AT", "Driver": "DRIVER", "ID": "NETWORK ID", "IPv6": "IPV6", "Internal": "INTERNAL", "Labels": "LABELS",
	"Name": "NAME", "Scope": "SCOPE", "Subnets": "SUBNETS", "Containers": "CONTAINERS", "Origin": "ORIGIN", "File": "FILE",
}

func networkListCommand() *cobra.Command {
	var format string
	var filters []string
	var quiet bool
	cmd := &cobra.Command{
		Use:     "ls [flags]",
		Aliases: []string{"list"},
		Short:   "List networks",
		Long: `List networks: those that are built in, those that berth made, and those that others
wrote to /etc/cni/net.d (origin cni).`,
		Example: `  berth network ls --filter label=tier=data
  berth network ls --format '{{.Name}} {{.Subnets}}'
  berth network ls --format json | jq -r .Name`,
		Args:              exactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quiet {
				format = "{{.Name}}"
			}
			return listNetworks(cmd, format, filters)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&filters, "filter", "f", nil, "KEY=VALUE with KEY driver, id, label, name or type (builtin, custom)")
	fl.StringVar(&format, "format", "", formatUsage)
	fl.BoolVarP(&quiet, "quiet", "q", false, "names only")
	return cmd
}

func listNetworks(cmd *cobra.Command, format string, filterArgs []string) error {
	filters, err := network.ParseFilters(filterArgs)
	if err != nil {
		return &usageError{err}
	}
	c, err := openCatalogue()
	if err != nil {
		return err
	}
	networks, broken := c.List()
	warn(cmd, broken)
	attached, err := c.Endpoints("")
	if err != nil {
		return err
	}
	containers := map[string]int{}
	for _, r := range attached {
		containers[r.Network]++
	}
	var rows []networkRow
	for _, n := range networks {
		if filters.Match(n) {
			rows = append(rows, rowOf(n, containers[n.Name]))
		}
	}
	return printRows(cmd.OutOrStdout(), format, "{{.Name}}\t{{.Driver}}\t{{.Subnets}}\t{{.Containers}}\t{{.Origin}}", networkColumns, rows)
}

func rowOf(n *network.Network, containers int) networkRow {
	var subnets []string
	ipv6 := false
	for _, s := range n.Subnets {
		subnets = append(subnets, s.Subnet.String())
		ipv6 = ipv6 || s.Subnet.Addr().Is6()
	}
	row := networkRow{
		Driver: n.Driver, ID: n.ID()[:12], IPv6: strconv.FormatBool(ipv6), Internal: strconv.FormatBool(n.Internal),
		Labels: labelText(n.Labels), Name: n.Name, Scope: n.Scope(),
		Subnets: strings.Join(subnets, ", "), Containers: containers, Origin: string(n.Origin), File: n.File, labels: n.Labels,
	}
	if !n.Created.IsZero() {
		row.CreatedAt = n.Created.Format("2006-01-02 15:04:05 -0700 MST")
	}
	return row
}

func labelText(labels map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, k+"="+labels[k])
	}
	return strings.Join(list, ",")
}

func networkInspectCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect [flags] NETWORK...",
		Short: "Show a network, its addresses and the containers on it",
		Example: `  berth network inspect front
  berth network inspect --format json front
  berth network inspect --format '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{"\n"}}{{end}}' front
  berth network inspect --format '{{range .IPAM.Config}}{{.Subnet}} {{.Free}} free{{end}}' front`,
		Args:              minimumArgs(1, "NETWORK..."),
		ValidArgsFunction: networkNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := openCatalogue()
			if err != nil {
				return err
			}
			return inspectNetworks(cmd, c, format, args)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", `"json", or a Go template such as "{{.Driver}}"`)
	return cmd
}

// inspectNetworks shows those that there are, also when one is not.
func inspectNetworks(cmd *cobra.Command, c *network.Catalogue, format string, names []string) error {
	found := []*network.Inspection{}
	errs := eachOf(names, func(name string) error {
		i, err := inspectNetwork(cmd, c, name)
		if err == nil {
			found = append(found, i)
		}
		return err
	})
	if err := printInspections(cmd.OutOrStdout(), format, found); err != nil {
		return err
	}
	return errs
}

func printInspections(w io.Writer, format string, found []*network.Inspection) error {
	switch format {
	case "json":
		raw, err := marshal(found, "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", raw)
		return err
	case "":
		for i, n := range found {
			if i > 0 {
				fmt.Fprintln(w)
			}
			describeNetwork(w, n)
		}
		return nil
	}
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	for _, n := range found {
		if err := execute(w, t, n); err != nil {
			return err
		}
	}
	return nil
}

// describeNetwork is inspect for people.
func describeNetwork(w io.Writer, n *network.Inspection) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s:\t%s\n", name, value)
		}
	}
	field("Name", n.Name)
	field("Driver", n.Driver)
	if len(n.Plugins) > 1 {
		field("Chain", strings.Join(n.Plugins, " → "))
	}
	field("Origin", string(n.Origin))
	field("File", n.File)
	if !n.Created.IsZero() {
		field("Created", n.Created.Format("2006-01-02 15:04:05 MST"))
	}
	if n.Internal {
		field("Internal", "yes")
	}
	field("Options", labelText(n.Options))
	field("Labels", labelText(n.Labels))
	field("Addresses", n.IPAM.Driver)
	if n.Cluster != nil {
		field("VNI", strconv.FormatUint(uint64(n.Cluster.VNI), 10))
		field("Encrypted", strconv.FormatBool(n.Cluster.Encrypted))
	}
	tw.Flush()
	describeRanges(w, n)
	describeContainers(w, n)
	describeCluster(w, n)
}

func describeRanges(w io.Writer, n *network.Inspection) {
	if len(n.IPAM.Config) == 0 {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	defer tw.Flush()
	fmt.Fprintln(tw, "\nSUBNET\tRANGE\tGATEWAY\tUSED\tFREE")
	for _, r := range n.IPAM.Config {
		rng, gateway := "-", "-"
		if r.RangeStart.IsValid() {
			rng = r.RangeStart.String() + "-" + r.RangeEnd.String()
		}
		if r.Gateway.IsValid() {
			gateway = r.Gateway.String()
		}
		free := "-"
		if r.Free != nil {
			free = r.Free.Short()
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\n", r.Subnet, rng, gateway, r.Used, free)
	}
}

func describeContainers(w io.Writer, n *network.Inspection) {
	describeWarnings(w, n)
	if len(n.Containers) == 0 {
		fmt.Fprintln(w, "\nNo containers.")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	defer tw.Flush()
	fmt.Fprintln(tw, "\nCONTAINER\tID\tINTERFACE\tADDRESSES\tMAC\tSTATE\tBY")
	for _, id := range slices.Sorted(maps.Keys(n.Containers)) {
		e := n.Containers[id]
		var addrs []string
		for _, p := range e.Addresses {
			addrs = append(addrs, p.String())
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", dash(e.Name), id[:min(20, len(id))], e.IfName,
			dash(strings.Join(addrs, ", ")), dash(e.MacAddress), e.State, e.Owner)
	}
}

func describeWarnings(w io.Writer, n *network.Inspection) {
	for _, warning := range n.Warnings {
		fmt.Fprintf(w, "\nWARNING: %s\n", warning)
	}
	for _, id := range slices.Sorted(maps.Keys(n.Containers)) {
		for _, warning := range n.Containers[id].Warnings {
			fmt.Fprintf(w, "\nWARNING: %s: %s\n", n.Containers[id].Name, warning)
		}
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
