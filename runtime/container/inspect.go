package container

import (
	"slices"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/state"
)

// View is everything that is known about a container. Its JSON is what
// inspect prints.
type View struct {
	Config
	State   State  `json:"state"`
	LogPath string `json:"logPath"`
	Dir     string `json:"dir"`
}

// Inspect looks at the container now: also what was connected and
// disconnected while it ran.
func (c *Container) Inspect() (*View, error) {
	st, err := c.State()
	if err != nil {
		return nil, err
	}
	if st.Status == Running {
		if st.Endpoints, err = c.endpoints(); err != nil {
			return nil, err
		}
	}
	return &View{Config: c.Config, State: st, LogPath: c.LogPath(), Dir: c.Dir()}, nil
}

// endpoints are the attachments that the state of this boot records, in the
// order of their interfaces.
func (c *Container) endpoints() ([]Endpoint, error) {
	var found []Endpoint
	err := c.store.state.View(func(tx *state.Tx) error {
		records, err := endpoint.List(tx, "")
		for _, r := range records {
			if r.ContainerID == c.ID && r.Phase == endpoint.Ready {
				found = append(found, *endpointOf(r.Network, r.IfName, r.Result))
			}
		}
		return err
	})
	slices.SortFunc(found, func(a, b Endpoint) int {
		if a.IfName < b.IfName {
			return -1
		}
		return 1
	})
	return found, err
}
