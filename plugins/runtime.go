package plugins

import (
	"net"
	"net/netip"
)

// Args are the values of the environment variable CNI_ARGS and of the
// configuration's "args.cni", validated.
type Args struct {
	IPs []netip.Prefix   // IP=…, args.cni.ips; a bare address has the length of its family
	MAC net.HardwareAddr // MAC=…, args.cni.mac
	Pod Pod              // K8S_POD_*
	Raw map[string]string
}

// Pod is what Kubernetes and Podman tell of the container they attach.
type Pod struct {
	Namespace, Name, UID, InfraContainerID string
}

// Runtime is the configuration's "runtimeConfig": values for the capabilities
// that the configuration declares, as the CNI conventions define them, and
// "aliases" besides.
type Runtime struct {
	PortMappings []PortMapping
	IPs          []netip.Prefix
	MAC          net.HardwareAddr
	Bandwidth    *Bandwidth
	DNS          *DNS
	Aliases      []string
}

// PortMapping publishes a container's port. Zero HostIP means every address
// of the host.
type PortMapping struct {
	HostIP        netip.Addr `json:"hostIP,omitzero"`
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
	Count         uint16     `json:"count,omitempty"` // length of a range; 0 and 1 are one port
	Protocol      string     `json:"protocol"`        // "tcp", "udp" or "sctp"
}

// Bandwidth limits one attachment. Rates are in bits per second and bursts in
// bits; ingress is towards the container.
type Bandwidth struct {
	IngressRate, IngressBurst uint64
	EgressRate, EgressBurst   uint64
}
