// Package plugins is the contract between a network driver and whoever calls
// it: a CNI binary, the command line, or the container runtime.
//
// A driver returns results and errors. It never prints, never exits, and acts
// on the network and mount namespace of the calling thread (the host's) and
// on the container's namespace that the request names.
package plugins

import (
	"context"
	"net"
)

// Driver is one network type. The methods are the verbs of the CNI
// specification 1.1.0, section 2.
type Driver interface {
	// Add attaches the container and returns the complete result. Repeating
	// it for an attachment that already stands is an error, as the
	// specification demands; an attachment that a crash left half made, or
	// whose old namespace is dead, is replaced.
	Add(ctx context.Context, req *Request) (*Result, error)

	// Check compares what Add made with what the kernel has now and names
	// the first difference.
	Check(ctx context.Context, req *Request) error

	// Del undoes Add. It goes on past errors and joins them; whatever is
	// already gone, the namespace and the record included, is success.
	Del(ctx context.Context, req *Request) error

	// GC removes every attachment of the network that req does not list.
	GC(ctx context.Context, req *GCRequest) error

	// Status is nil when the next Add could succeed.
	Status(ctx context.Context, net *Network) error
}

// Network is the part of a request that every verb has. All of it has been
// validated by whoever made the request.
type Network struct {
	Name       string   // of the network, not of a device
	Type       string   // name of the driver
	CNIVersion string   // of the configuration; drivers need not look at it
	Config     []byte   // the plugin's JSON object, for the driver's own keys
	Path       []string // directories where other plugins are searched
}

// Request asks for Add, Check or Del of one attachment: the interface IfName
// of the container ContainerID on the network.
type Request struct {
	Network
	ContainerID string
	NetNS       string // path; may be empty on Del
	IfName      string
	Args        Args
	Runtime     Runtime
	Prev        *Result // of the plugin before in the chain, or of our own Add on Check and Del
	Owner       string  // who attaches: "cni", "berth"; kept in the record
}

// MAC is the hardware address that was asked for, nil for none. The runtime's
// capability wins over CNI_ARGS, which the conventions call deprecated.
func (r *Request) MAC() net.HardwareAddr {
	if r.Runtime.MAC != nil {
		return r.Runtime.MAC
	}
	return r.Args.MAC
}

// Attachment names one attachment of a network.
type Attachment struct {
	ContainerID string
	IfName      string
}

// GCRequest lists the attachments that stay.
type GCRequest struct {
	Network
	Valid []Attachment
}
