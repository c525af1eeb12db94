package cniwire

import (
	"bytes"
	"context"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// askWithin bounds what an ADD waits for a resolver.
const askWithin = 2 * time.Second

// withNames is the result with the resolver that the agent has opened in the
// container for its nameserver, where the configuration asks for "names".
// Where no agent runs, or it cannot, the result stays as it is: a runtime must
// not be told of a resolver that nobody answers at.
func withNames(ctx context.Context, req *plugins.Request, result *plugins.Result) *plugins.Result {
	if !wantsNames(req.Config) {
		return result
	}
	store, err := state.Default()
	if err != nil {
		return result
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	key := endpoint.Key{Network: req.Name, ContainerID: req.ContainerID, IfName: req.IfName}
	answer, err := api.Call(ctx, store, api.Request{Names: &api.Names{Key: key}})
	if err != nil || answer.Names == nil {
		return result
	}
	named := *result
	named.DNS = *answer.Names
	return &named
}

func wantsNames(config []byte) bool {
	if !bytes.Contains(config, []byte(`"names"`)) {
		return false
	}
	var c struct {
		Names bool `json:"names"`
	}
	return coldjson.Unmarshal(config, &c) == nil && c.Names
}
