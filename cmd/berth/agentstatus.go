package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/state"
)

func agentStatusCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the agent's peers, networks and last errors",
		Long: `Show whether etcd answers and how far this host is behind, the networks that have
endpoints here, the other hosts of the cluster, and what went wrong last, newest first.`,
		Example: `  berth agent status
  berth agent status --format json | jq .cluster.behind
  berth agent status --format '{{range .Cluster.Peers}}{{.Host}} {{.Address}}{{"\n"}}{{end}}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := state.Default()
			if err != nil {
				return err
			}
			answer, err := api.Call(cmd.Context(), store, api.Request{Status: &struct{}{}})
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), format, answer.Status)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", `"json", or a Go template such as "{{.Host}}"`)
	return cmd
}

func printStatus(w io.Writer, format string, s *api.Status) error {
	switch format {
	case "json":
		raw, err := marshal(s, "  ")
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", raw)
		}
		return err
	case "":
		describeStatus(w, s)
		return nil
	}
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	return execute(w, t, s)
}

// describeStatus is the status for people.
func describeStatus(w io.Writer, s *api.Status) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "Host:\t%s\n", strings.TrimSpace(s.Host+" "+s.Address))
	fmt.Fprintf(tw, "Since:\t%s\n", s.Started.Format(time.RFC3339))
	if s.Cluster == nil {
		fmt.Fprintf(tw, "Cluster:\tnone: the agent was started without --etcd\n")
	} else {
		fmt.Fprintf(tw, "etcd:\t%s: %s\n", strings.Join(s.Cluster.Servers, ", "), etcdState(s.Cluster))
	}
	if n := s.Names; n != nil {
		fmt.Fprintf(tw, "Names:\tin %d containers; %d questions, %d forwarded, %d of them failed\n", n.Containers, n.Questions, n.Forwarded, n.Failed)
	}
	tw.Flush()
	if s.Cluster != nil {
		describeNetworks(w, s.Networks)
		describePeers(w, s.Cluster.Peers)
		describeMesh(w, s.Mesh)
	}
	for i, warning := range s.Warnings {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "WARNING: %s\n", warning)
	}
	describeProblems(w, s.Errors)
}

func etcdState(c *api.Cluster) string {
	switch {
	case c.Connected:
		return fmt.Sprintf("answers in %s, %d changes behind", c.RoundTrip.Round(10*time.Microsecond), c.Behind)
	case c.LastSeen.IsZero():
		return "has not answered yet: " + c.Error
	}
	return fmt.Sprintf("last answered at %s: %s", c.LastSeen.Format(time.RFC3339), c.Error)
}

func describeNetworks(w io.Writer, networks []api.NetworkStatus) {
	if len(networks) == 0 {
		fmt.Fprintln(w, "\nNo networks.")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	defer tw.Flush()
	fmt.Fprintln(tw, "\nNETWORK\tVNI\tENDPOINTS HERE\tELSEWHERE")
	for _, n := range networks {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\n", n.Name, n.VNI, n.Here, n.Elsewhere)
	}
}

func describePeers(w io.Writer, peers []api.Peer) {
	if len(peers) == 0 {
		fmt.Fprintln(w, "\nNo peers.")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	defer tw.Flush()
	fmt.Fprintln(tw, "\nPEER\tADDRESS\tENDPOINTS\tMTU\tVXLAN")
	for _, p := range peers {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%s\n", p.Host, p.Address, p.Endpoints, p.MTU, dash(p.VXLAN))
	}
}

func describeProblems(w io.Writer, problems []api.Problem) {
	if len(problems) == 0 {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	defer tw.Flush()
	fmt.Fprintln(tw, "\nERROR AT\tDOING\tMESSAGE")
	for _, p := range problems {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", p.Time.Format(time.RFC3339), p.What, strings.ReplaceAll(p.Message, "\n", "; "))
	}
}
