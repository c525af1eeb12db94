// Package attach is what the drivers' Add and Del have in common: the record,
// the addresses and the host ports of an attachment are taken in one
// transaction before the kernel is touched, and given back in one after.
package attach

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netns"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/resolvconf"
	"github.com/berth-net/berth/state"
)

// ErrAttached says that the attachment stands already.
var ErrAttached = errors.New("already attached")

// Spec is what a driver's Add asks for.
type Spec struct {
	HostIfName string                // device that will be made on the host; may be empty
	IPAM       json.RawMessage       // the "ipam" object; nil for none
	Ports      []plugins.PortMapping // to claim on the host
	Driven     any                   // what Del must know besides; encoded into the record
	HostNetNS  bool                  // the container must be in the host's namespace; else it must not
	Segment    string                // what the container and its neighbours are on, where nobody else is; may be empty

	// Del is the driver's own. Where an address or port is held by an
	// attachment of the same network whose namespace is dead, that one is
	// ended by it and the address given; nil: the Add fails.
	Del Del
}

// Attachment is an Add under way. End it with Done or Abort, or, before Take,
// with Leave.
type Attachment struct {
	Record    *endpoint.Record
	Container *netns.Handle
	Addresses []ipam.Address
	IPAM      *ipam.Config // nil without addresses

	// Stale is the record of an earlier Add that a crash interrupted or whose
	// namespace is dead: the driver removes the devices and rules it names
	// before making its own.
	Stale *endpoint.Record

	id    netns.ID // of Container
	store *state.Store
	req   *plugins.Request
	guard *state.Guard
	avoid []netip.Addr // that other machines of the segment have
	undo  []func() error

	segment  string
	expected bool
}

// Begin is Enter and Take: all or nothing.
func Begin(ctx context.Context, store *state.Store, req *plugins.Request, spec Spec) (*Attachment, error) {
	a, err := Enter(store, req, spec.HostNetNS)
	if err != nil {
		return nil, err
	}
	if err := a.Take(ctx, spec); err != nil {
		return nil, a.Leave(err)
	}
	return a, nil
}

// Enter opens the container's namespace, which must be the host's or must not,
// and keeps others off the attachment. Nothing is recorded yet.
func Enter(store *state.Store, req *plugins.Request, host bool) (*Attachment, error) {
	container, id, err := openContainer(req, host)
	if err != nil {
		return nil, err
	}
	guard, err := tryGuard(store, keyOf(req))
	if err != nil {
		return nil, errors.Join(err, container.Close())
	}
	return &Attachment{Container: container, id: id, store: store, req: req, guard: guard}, nil
}

// Leave gives up what Enter has opened, and returns cause joined with what went
// wrong.
func (a *Attachment) Leave(cause error) error { return errors.Join(cause, a.close()) }

func (a *Attachment) close() error {
	a.guard.Release()
	return a.Container.Close()
}

// Read decodes the "ipam" object into a.IPAM, for a driver whose Spec depends
// on it: that one has no IPAM then.
func (a *Attachment) Read(config json.RawMessage) (err error) {
	if a.IPAM, err = ipam.ParseWith(config, ipRanges(a.req.Config)); err != nil {
		return err
	}
	return a.findDelegate()
}

// Take records the intent, the leases and the host ports, or nothing: then it
// may be called again.
func (a *Attachment) Take(ctx context.Context, spec Spec) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.segment = spec.Segment
	if spec.IPAM != nil {
		if err := a.Read(spec.IPAM); err != nil {
			return err
		}
	}
	if a.Record, err = newRecord(a.req, a.id, spec); err != nil {
		return err
	}
	err = a.store.Update(a.take)
	if spec.Del == nil || !isTaken(err) {
		return err
	}
	n, reapErr := ReapDead(ctx, a.store, a.req.Network, spec.Del)
	if n == 0 {
		return errors.Join(err, reapErr)
	}
	return a.store.Update(a.take)
}

// ipRanges is the value of the capability of that name: range sets that come
// before those of the configuration.
func ipRanges(config []byte) []byte {
	var c struct {
		RuntimeConfig struct {
			IPRanges json.RawMessage `json:"ipRanges"`
		} `json:"runtimeConfig"`
	}
	// What cannot be decoded the driver has refused already.
	if !mentions(config, "ipranges") || coldjson.Unmarshal(config, &c) != nil {
		return nil
	}
	return c.RuntimeConfig.IPRanges
}

// dnsOf is the configuration's "dns" object.
func dnsOf(config []byte) plugins.DNS {
	var c struct {
		DNS plugins.DNS `json:"dns"`
	}
	// What cannot be decoded the driver has refused already, or does not have.
	if !mentions(config, "dns") || coldjson.Unmarshal(config, &c) != nil {
		return plugins.DNS{}
	}
	return c.DNS
}

// mentions tells whether a key, given in lower case, may be in the
// configuration. Most have none of those that are asked for, and to look costs
// less than to decode.
func mentions(config []byte, key string) bool {
	return bytes.Contains(bytes.ToLower(config), []byte(`"`+key+`"`)) || bytes.Contains(config, []byte(`\u`))
}

// isTaken tells the errors that the end of another attachment may cure.
func isTaken(err error) bool {
	return errors.Is(err, ipam.ErrExhausted) || errors.Is(err, ipam.ErrInUse) || errors.Is(err, firewall.ErrPortTaken)
}

// Delegate asks the IPAM plugin that the configuration names for the
// addresses, where they are not leased by package ipam. Call it when the
// container's device exists and before its addresses are set: a dhcp plugin
// speaks through that device, and dhcp's own ADD brings it up. When it fails
// the caller aborts.
func (a *Attachment) Delegate(ctx context.Context) error {
	if !a.Delegated() {
		return nil
	}
	return a.delegateAdd(ctx)
}

// Delegated tells whether another IPAM plugin gives the addresses.
func (a *Attachment) Delegated() bool { return a.IPAM != nil && !a.IPAM.Embedded() }

// take is the transaction of Begin.
func (a *Attachment) take(tx *state.Tx) error {
	old, err := endpoint.Get(tx, a.Record.Key)
	switch {
	case errors.Is(err, endpoint.ErrNotFound):
	case err != nil:
		return err
	case old.Phase == endpoint.Ready && old.Alive():
		return plugins.Errorf(plugins.CodeAttached, "attach %s: %w in netns %s; delete it first", old.Key, ErrAttached, old.NetNS)
	default:
		a.Stale = old
		if err := firewall.ReleasePorts(tx, old.Key); err != nil {
			return err
		}
	}
	if err := firewall.ClaimPorts(tx, a.Record.Key, a.Record.Ports); err != nil {
		return err
	}
	return a.lease(tx)
}

// lease takes the addresses, or others where some are to be avoided, and
// writes the record.
func (a *Attachment) lease(tx *state.Tx) (err error) {
	if a.IPAM != nil && a.IPAM.Embedded() {
		if a.Addresses, err = ipam.Lease(tx, a.IPAM, a.leaseRequest()); err != nil {
			return err
		}
		a.Record.Addresses = nil
		for _, addr := range a.Addresses {
			a.Record.Addresses = append(a.Record.Addresses, addr.Prefix)
		}
	}
	if err := a.expect(tx); err != nil {
		return err
	}
	return endpoint.Put(tx, a.Record)
}

func (a *Attachment) leaseRequest() ipam.Request {
	return ipam.Request{
		Key:    a.Record.Key,
		Static: slices.Concat(a.req.Runtime.IPs, a.req.Args.IPs),
		MAC:    a.req.MAC(),
		Name:   a.Record.Name,
		Avoid:  a.avoid,

		NetNS: a.Record.NetNS, NetNSID: a.Record.NetNSID,
	}
}

// OnAbort registers the inverse of a step that has just succeeded.
func (a *Attachment) OnAbort(inverse func() error) { a.undo = append(a.undo, inverse) }

// Abort takes back every step, the last one first, then the leases, ports
// and record, and returns cause joined with what went wrong on the way. Where
// the kernel could not be cleaned the record stays, for reconcile.
func (a *Attachment) Abort(cause error) error {
	errs := []error{cause}
	clean := true
	for _, inverse := range slices.Backward(a.undo) {
		if err := inverse(); err != nil {
			errs, clean = append(errs, err), false
		}
	}
	if clean {
		errs = append(errs, a.store.Update(func(tx *state.Tx) error { return giveBack(tx, a.Record.Key) }))
	}
	return errors.Join(append(errs, a.close())...)
}

// Done marks the record ready with the result. Its DNS is what the runtime has
// set (the capability dns), over the configuration's, over the IPAM's.
func (a *Attachment) Done(result *plugins.Result) error {
	result.DNS = resolvconf.Over(dnsOf(a.req.Config), result.DNS)
	if set := a.req.Runtime.DNS; set != nil {
		result.DNS = resolvconf.Over(*set, result.DNS)
	}
	a.Record.Phase, a.Record.Result = endpoint.Ready, result
	err := a.store.Update(func(tx *state.Tx) error { return endpoint.Put(tx, a.Record) })
	if err != nil {
		return a.Abort(err)
	}
	return a.close()
}

// End is a driver's Del: it waits for an Add of the same attachment that is
// under way, hands the record, or nil where there is none, to teardown, and
// then gives back leases and ports and erases the record. When teardown fails
// the record stays, so that Del can be repeated. A delegated IPAM plugin comes
// before: dhcp says goodbye through the container's device.
func End(ctx context.Context, store *state.Store, req *plugins.Request, teardown func(*endpoint.Record) error) error {
	key := keyOf(req)
	release, err := guard(ctx, store, key)
	if err != nil {
		return err
	}
	defer release()
	var record *endpoint.Record
	err = store.View(func(tx *state.Tx) (err error) {
		if record, err = endpoint.Get(tx, key); errors.Is(err, endpoint.ErrNotFound) {
			return nil
		}
		return err
	})
	err = errors.Join(err, delegateDel(ctx, req, record), teardown(record))
	if err != nil || record == nil {
		return err
	}
	return store.Update(func(tx *state.Tx) error { return giveBack(tx, key) })
}

func giveBack(tx *state.Tx, key endpoint.Key) error {
	return errors.Join(firewall.ReleasePorts(tx, key), ipam.Release(tx, key), endpoint.Delete(tx, key))
}

func keyOf(req *plugins.Request) endpoint.Key {
	return endpoint.Key{Network: req.Name, ContainerID: req.ContainerID, IfName: req.IfName}
}

func newRecord(req *plugins.Request, id netns.ID, spec Spec) (*endpoint.Record, error) {
	r := &endpoint.Record{
		Key: keyOf(req), Driver: req.Type, Phase: endpoint.Intent, Owner: req.Owner,
		Name: req.Args.Pod.Name, NetNS: req.NetNS, NetNSID: id, Created: time.Now().UTC(),
		Config: req.Config, Path: req.Path, Args: req.Args.Raw, HostIfName: spec.HostIfName, Ports: spec.Ports, Aliases: req.Runtime.Aliases,
	}
	if spec.Driven != nil {
		raw, err := coldjson.Marshal(spec.Driven)
		if err != nil {
			return nil, fmt.Errorf("encode record of %s: %w", r.Key, err)
		}
		r.Driven = raw
	}
	return r, nil
}
