package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/network"
)

// connectFlags are the flags of berth network connect as they were typed.
type connectFlags struct {
	ip, ip6, mac, ifname string
	aliases, publish     []string
	priority             int
}

func networkConnectCommand() *cobra.Command {
	var f connectFlags
	cmd := &cobra.Command{
		Use:   "connect [flags] NETWORK CONTAINER",
		Short: "Connect a running container to a network",
		Long: `Connect a running container, of any runtime, to a network.

CONTAINER is a name or id, pid:N or netns:PATH. It gets one more interface; its default
route stays where it is unless --gw-priority says otherwise. Ports that are published here
are withdrawn when it is disconnected.`,
		Example: `  berth network connect front web
  berth network connect -p 8080:80 front web
  berth network connect --ip 10.20.5.7 --alias db app pid:4711
  berth network connect --gw-priority 1 lan netns:/run/netns/vpn`,
		Args:              exactArgs("NETWORK", "CONTAINER"),
		ValidArgsFunction: networkThenContainer,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1]) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.ip, "ip", "", "IPv4 address (default: the next free one)")
	fl.StringVar(&f.ip6, "ip6", "", "IPv6 address (default: the next free one)")
	fl.StringArrayVar(&f.aliases, "alias", nil, "another name of the container on this network")
	fl.StringArrayVarP(&f.publish, "publish", "p", nil, publishUsage)
	fl.StringVar(&f.mac, "mac-address", "", "hardware address of the interface")
	fl.StringVar(&f.ifname, "ifname", "", "name of the interface (default: the next free ethN)")
	fl.IntVar(&f.priority, "gw-priority", 0, "the network with the highest has the default route; of equals, the one connected first")
	return cmd
}

func (f *connectFlags) run(cmd *cobra.Command, networkName, ref string) error {
	ep, err := f.endpoint()
	if err != nil {
		return &usageError{err}
	}
	c, err := openCatalogue()
	if err != nil {
		return err
	}
	made, err := c.Connect(cmd.Context(), networkName, ref, *ep)
	if err != nil {
		return err
	}
	for _, warning := range made.Result.Warnings {
		warn(cmd, errors.New(warning))
	}
	fmt.Fprint(cmd.OutOrStdout(), made.IfName)
	for _, ip := range made.Result.IPs {
		fmt.Fprint(cmd.OutOrStdout(), " ", ip.Address)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout())
	return err
}

func (f *connectFlags) endpoint() (*network.Endpoint, error) {
	ports, err := parsePorts(f.publish)
	if err != nil {
		return nil, err
	}
	ep := &network.Endpoint{IfName: f.ifname, Aliases: f.aliases, Ports: ports, GwPriority: f.priority}
	for _, asked := range []struct {
		flag, value string
		v6          bool
	}{{"--ip", f.ip, false}, {"--ip6", f.ip6, true}} {
		if asked.value == "" {
			continue
		}
		a, err := netip.ParseAddr(asked.value)
		if err != nil || a.Is6() != asked.v6 {
			return nil, fmt.Errorf("%s %q: use an address of its family, without a length", asked.flag, asked.value)
		}
		ep.IPs = append(ep.IPs, a)
	}
	if f.mac != "" {
		mac, err := net.ParseMAC(f.mac)
		if err != nil {
			return nil, fmt.Errorf("--mac-address %q: use six bytes, such as 02:00:00:00:00:01", f.mac)
		}
		ep.MAC = mac
	}
	return ep, nil
}

func networkDisconnectCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "disconnect [flags] NETWORK CONTAINER",
		Short: "Disconnect a container from a network",
		Example: `  berth network disconnect front web
  berth network disconnect --force front 5c1f0c2e7a9b`,
		Args:              exactArgs("NETWORK", "CONTAINER"),
		ValidArgsFunction: networkThenContainer,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := openCatalogue()
			if err != nil {
				return err
			}
			return c.Disconnect(cmd.Context(), args[0], args[1], force)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also what a CNI runtime attached, and what is left of a container that is gone")
	return cmd
}
