package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/state"
)

func agentRotateKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-key",
		Short: "Give this host a new key for encrypted networks",
		Long: `Give this host a new key for encrypted networks, and tell the other hosts. Until they know,
for about a tenth of a second, packets of these networks are lost. A reboot does the same.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := state.Default()
			if err != nil {
				return err
			}
			_, err = api.Call(cmd.Context(), store, api.Request{RotateKey: &struct{}{}})
			return err
		},
	}
}

// describeMesh is for people; nothing where no encrypted network is here.
func describeMesh(w io.Writer, m *api.Mesh) {
	if m == nil {
		return
	}
	fmt.Fprintf(w, "\nEncrypted networks: %s WireGuard, device %s, UDP port %d, key %s\n", m.Implementation, m.Device, m.Port, m.Key)
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	defer tw.Flush()
	fmt.Fprintln(tw, "HOST\tENDPOINT\tLAST HANDSHAKE\tRECEIVED\tSENT")
	for _, p := range m.Peers {
		endpoint, handshake := "unknown", "none yet"
		if p.Endpoint.IsValid() {
			endpoint = p.Endpoint.String()
		}
		if !p.Handshake.IsZero() {
			handshake = time.Since(p.Handshake).Round(time.Second).String() + " ago"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\n", p.Host, endpoint, handshake, p.Received, p.Sent)
	}
}
