package agentflags

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/berth-net/berth/agent/api"
)

// Mesh says how the host takes part in the mesh under encrypted networks.
type Mesh struct {
	implementation string
	Port           uint16 // UDP
	Keepalive      time.Duration
}

const implementationAuto = "auto"

func (f *Mesh) define(flags *pflag.FlagSet) {
	flags.StringVar(&f.implementation, "wireguard", implementationAuto, "of encrypted networks: kernel, userspace, or auto for the kernel's where it has one")
	flags.Uint16Var(&f.Port, "wireguard-port", api.MeshPort, "UDP port that the other hosts send encrypted packets to")
	flags.DurationVar(&f.Keepalive, "wireguard-keepalive", 0, "between packets to a silent host, for a NAT to remember this one; 0: none")
}

// check returns the key of the flag that is wrong, and what is.
func (f *Mesh) check() (key string, err error) {
	switch f.implementation {
	case api.MeshKernel, api.MeshUserspace, implementationAuto:
	default:
		return "wireguard", fmt.Errorf("%q is unknown; use kernel, userspace or auto", f.implementation)
	}
	if f.Port == 0 {
		return "wireguard-port", fmt.Errorf("0 is no port that others can send to")
	}
	if f.Keepalive < 0 || f.Keepalive > 65535*time.Second || f.Keepalive%time.Second != 0 {
		return "wireguard-keepalive", fmt.Errorf("%s is not whole seconds from 0s to 65535s", f.Keepalive)
	}
	return "", nil
}

// Implementation is the one that was asked for; empty: the kernel's where it
// has one.
func (f *Mesh) Implementation() string {
	if f.implementation == implementationAuto {
		return ""
	}
	return f.implementation
}
