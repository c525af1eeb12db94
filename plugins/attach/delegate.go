package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/cniresult"
	"github.com/berth-net/berth/state"
)

// undoTimeout bounds the DEL of a delegate after a failure: the caller's
// context may be what failed.
const undoTimeout = 20 * time.Second

// findDelegate fails where the configuration names an IPAM plugin that is not
// there: before anything is touched, for its DEL could not be run either.
func (a *Attachment) findDelegate() error {
	if a.IPAM.Embedded() {
		return nil
	}
	_, err := callOf(a.req, a.IPAM.Type).prepare("ADD")
	return err
}

// delegateAdd runs the IPAM plugin that the configuration names, as the CNI
// specification's section 4 says: it gets what we got, and it is told DEL
// when it fails or when anything after it does.
func (a *Attachment) delegateAdd(ctx context.Context) error {
	call := callOf(a.req, a.IPAM.Type)
	a.OnAbort(func() error {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return call.run(undo, "DEL")
	})
	result, err := call.result(ctx, "ADD")
	if err != nil {
		return err
	}
	if len(result.IPs) == 0 {
		return fmt.Errorf("IPAM plugin %s: it returned no address", a.IPAM.Type)
	}
	a.IPAM = &ipam.Config{Type: a.IPAM.Type, Routes: result.Routes, DNS: result.DNS}
	for _, ip := range result.IPs {
		a.Addresses = append(a.Addresses, ipam.Address{Prefix: ip.Address, Gateway: ip.Gateway})
		a.Record.Addresses = append(a.Record.Addresses, ip.Address)
	}
	return nil
}

// delegateDel runs the DEL of the plugin that leased the addresses: of the
// one in the request or, where the request has none, of the record's.
func delegateDel(ctx context.Context, req *plugins.Request, record *endpoint.Record) error {
	kind := delegateOf(req.Config)
	if kind == "" && record != nil && len(req.Config) == 0 {
		req = DelRequest(record, req.Network)
		kind = delegateOf(req.Config)
	}
	if kind == "" {
		return nil
	}
	return callOf(req, kind).run(ctx, "DEL")
}

// DelegateCheck runs the CHECK of a configuration's IPAM plugin, where
// package ipam is not that.
func DelegateCheck(ctx context.Context, req *plugins.Request) error {
	if kind := delegateOf(req.Config); kind != "" {
		return callOf(req, kind).run(ctx, "CHECK")
	}
	return nil
}

// AddressStatus tells whether the next container would get an address, from
// package ipam or, by its STATUS, from the configuration's IPAM plugin. Do not
// ask for a network without one.
func AddressStatus(ctx context.Context, store *state.Store, net *plugins.Network) error {
	var c struct {
		IPAM json.RawMessage `json:"ipam"`
	}
	if err := coldjson.Unmarshal(net.Config, &c); err != nil {
		return plugins.Errorf(plugins.CodeDecode, "configuration: %w", err)
	}
	if kind := delegateOf(net.Config); kind != "" {
		return callOf(&plugins.Request{Network: *net}, kind).run(ctx, "STATUS")
	}
	conf, err := ipam.Parse(c.IPAM)
	if err != nil {
		return err
	}
	return ipam.Room(store, conf, net.Name)
}

// delegateGC runs its GC. The configuration that it gets has the valid
// attachments under the keys that we got them by.
func delegateGC(ctx context.Context, req *plugins.GCRequest) error {
	if kind := delegateOf(req.Config); kind != "" {
		return callOf(&plugins.Request{Network: req.Network}, kind).run(ctx, "GC")
	}
	return nil
}

// delegateOf is the type of a configuration's IPAM plugin; empty where there
// is none, or where it is package ipam.
func delegateOf(config []byte) string {
	var c struct {
		IPAM struct {
			Type string `json:"type"`
		} `json:"ipam"`
	}
	// What cannot be decoded now could not be when Add was called.
	if coldjson.Unmarshal(config, &c) != nil {
		return ""
	}
	if kind := (&ipam.Config{Type: c.IPAM.Type}); !kind.Embedded() {
		return kind.Type
	}
	return ""
}

// call is one plugin of another's and what it is to be told.
type call struct {
	kind   string
	config []byte
	path   []string
	args   invoke.Args
}

func callOf(req *plugins.Request, kind string) *call {
	return &call{
		kind: kind, config: req.Config, path: req.Path,
		args: invoke.Args{
			ContainerID: req.ContainerID, NetNS: req.NetNS, IfName: req.IfName,
			PluginArgsStr: argsText(req.Args.Raw), Path: strings.Join(req.Path, ":"),
		},
	}
}

func argsText(raw map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(raw)) {
		parts = append(parts, k+"="+raw[k])
	}
	return strings.Join(parts, ";")
}

func (c *call) run(ctx context.Context, verb string) error {
	file, err := c.prepare(verb)
	if err != nil {
		return err
	}
	return c.explain(verb, invoke.ExecPluginWithoutResult(ctx, file, c.config, &c.args, nil))
}

func (c *call) result(ctx context.Context, verb string) (*plugins.Result, error) {
	file, err := c.prepare(verb)
	if err != nil {
		return nil, err
	}
	raw, err := invoke.ExecPluginWithResult(ctx, file, c.config, &c.args, nil)
	if err != nil {
		return nil, c.explain(verb, err)
	}
	return cniresult.FromCNI(raw)
}

func (c *call) prepare(verb string) (file string, err error) {
	c.args.Command = verb
	if file, err = invoke.FindInPath(c.kind, c.path); err != nil {
		return "", plugins.Errorf(plugins.CodeInvalidConfig, "ipam.type: find plugin %s in CNI_PATH %q: %w",
			c.kind, c.args.Path, err)
	}
	return file, nil
}

// explain names the plugin and keeps the code that it gave.
func (c *call) explain(verb string, err error) error {
	var coded *types.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded):
		return plugins.Errorf(plugins.Code(coded.Code), "IPAM plugin %s: %s: %w", c.kind, verb, err)
	}
	return fmt.Errorf("IPAM plugin %s: %s: %w", c.kind, verb, err)
}
