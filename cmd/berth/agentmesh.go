package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/agent/mesh"
	"github.com/berth-net/berth/state"
)

// meshFlags say how the host takes part in the mesh under encrypted networks.
type meshFlags struct {
	implementation string
	port           uint16
	keepalive      time.Duration
}

const implementationAuto = "auto"

func (f *meshFlags) define(flags *pflag.FlagSet) {
	flags.StringVar(&f.implementation, "wireguard", implementationAuto, "of encrypted networks: kernel, userspace, or auto for the kernel's where it has one")
	flags.Uint16Var(&f.port, "wireguard-port", mesh.DefaultPort, "UDP port that the other hosts send encrypted packets to")
	flags.DurationVar(&f.keepalive, "wireguard-keepalive", 0, "between packets to a silent host, for a NAT to remember this one; 0: none")
}

// check returns the key of the flag that is wrong, and what is.
func (f *meshFlags) check() (key string, err error) {
	switch f.implementation {
	case mesh.Kernel, mesh.Userspace, implementationAuto:
	default:
		return "wireguard", fmt.Errorf("%q is unknown; use kernel, userspace or auto", f.implementation)
	}
	if f.port == 0 {
		return "wireguard-port", fmt.Errorf("0 is no port that others can send to")
	}
	if f.keepalive < 0 || f.keepalive > 65535*time.Second || f.keepalive%time.Second != 0 {
		return "wireguard-keepalive", fmt.Errorf("%s is not whole seconds from 0s to 65535s", f.keepalive)
	}
	return "", nil
}

func (f *meshFlags) options() mesh.Options {
	o := mesh.Options{Implementation: f.implementation, Port: f.port, Keepalive: f.keepalive}
	if f.implementation == implementationAuto {
		o.Implementation = ""
	}
	return o
}

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
