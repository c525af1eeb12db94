package attach

import (
	"errors"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
)

// Open opens the container's namespace for Check. As with Begin it must not be
// the host's.
func Open(req *plugins.Request) (*netns.Handle, error) {
	container, _, err := openContainer(req, false)
	return container, err
}

// CheckHostNetNS makes sure for Check that the container is in the host's
// namespace.
func CheckHostNetNS(req *plugins.Request) error {
	container, _, err := openContainer(req, true)
	if err != nil {
		return err
	}
	return container.Close()
}

// OpenForDel opens the container's namespace for Del: nil where it is gone,
// where none was named, or where the path is by now something else, such as
// the namespace of another process.
func OpenForDel(req *plugins.Request, record *endpoint.Record) (*netns.Handle, error) {
	if req.NetNS == "" {
		return nil, nil
	}
	container, id, err := openContainer(req, false)
	var refused *plugins.Error
	switch {
	case errors.As(err, &refused):
		return nil, nil
	case err != nil:
		return nil, err
	case record != nil && record.NetNSID != id:
		return nil, container.Close()
	}
	return container, nil
}

// openContainer opens the request's namespace and refuses the wrong kind. A
// veth with both ends on the host would take the host's address away from it.
func openContainer(req *plugins.Request, wantHost bool) (*netns.Handle, netns.ID, error) {
	container, err := netns.Open(req.NetNS)
	if err != nil {
		return nil, netns.ID{}, plugins.Errorf(plugins.CodeInvalidEnvironment, "CNI_NETNS: %w", err)
	}
	id, err := container.ID()
	if err == nil {
		err = checkKind(req, id, wantHost)
	}
	if err != nil {
		return nil, id, errors.Join(err, container.Close())
	}
	return container, id, nil
}

func checkKind(req *plugins.Request, id netns.ID, wantHost bool) error {
	own, err := ownID()
	switch {
	case err != nil:
		return err
	case id == own && !wantHost:
		return plugins.Errorf(plugins.CodeInvalidEnvironment,
			"CNI_NETNS: %s is the host's own network namespace; use a network of type host for it", req.NetNS)
	case id != own && wantHost:
		return plugins.Errorf(plugins.CodeInvalidEnvironment,
			"CNI_NETNS: %s is a network namespace of the container's own, and network %s is the host's: "+
				"start the container in the host's namespace (ctr run --net-host, hostNetwork: true in a pod, --network host elsewhere)",
			req.NetNS, req.Name)
	}
	return nil
}

func ownID() (netns.ID, error) {
	own, err := netns.Current()
	if err != nil {
		return netns.ID{}, err
	}
	defer own.Close()
	return own.ID()
}
