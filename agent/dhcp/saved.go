package dhcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/netns"
	contract "github.com/berth-net/berth/plugins/dhcp"
	"github.com/berth-net/berth/state"
)

// A lease outlives the agent: its record is in the state of this boot, where
// the next agent finds it. What a server said is kept as it said it, and read
// again by the same code.

var bucket = []byte("dhcp")

// saved is a lease's record.
type saved struct {
	Ask     contract.Ask `json:"ask"`
	NetNSID netns.ID     `json:"netnsID"`
	MAC     endpoint.MAC `json:"mac"`
	Parts   []savedPart  `json:"parts"` // those that are bound
}

// savedPart is one family's. Granted counts from the boot, because the wall
// clock may be set while no agent runs.
type savedPart struct {
	Family  int           `json:"family"`
	Granted time.Duration `json:"granted"`
	Message []byte        `json:"message"`
}

// separator cannot occur in a network's name, a container id or an ifname.
const separator = "\x00"

func recordName(k endpoint.Key) []byte {
	return []byte(k.Network + separator + k.ContainerID + separator + k.IfName)
}

// save writes the lease's record over an older one.
func (l *lease) save() error {
	record := saved{Ask: l.ask, NetNSID: l.where.id, MAC: endpoint.MAC(l.where.mac)}
	up, err := uptime()
	if err != nil {
		return err
	}
	for _, p := range l.parts {
		if b := p.get(); b != nil {
			record.Parts = append(record.Parts, savedPart{p.family, up - time.Since(b.granted), b.message})
		}
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode DHCP lease of %s: %w", l.key, err)
	}
	return l.Store.Update(func(tx *state.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err == nil {
			err = b.Put(recordName(l.key), raw)
		}
		if err != nil {
			return fmt.Errorf("record DHCP lease of %s: %w", l.key, err)
		}
		return nil
	})
}

// erase removes a record. It writes nothing where there is none.
func (s *Server) erase(k endpoint.Key) error {
	there := false
	err := s.Store.View(func(tx *state.Tx) error {
		b := tx.Bucket(bucket)
		there = b != nil && b.Get(recordName(k)) != nil
		return nil
	})
	if err != nil || !there {
		return err
	}
	return s.Store.Update(func(tx *state.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil {
			return nil
		}
		return b.Delete(recordName(k))
	})
}

// restore goes on with the leases of an earlier agent. A record that is
// damaged is told and left out; one whose container is gone is erased.
func (s *Server) restore(ctx context.Context) error {
	records := map[string][]byte{}
	err := s.Store.View(func(tx *state.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil {
			return nil
		}
		return b.ForEach(func(name, raw []byte) error {
			records[string(name)] = append([]byte(nil), raw...)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("read DHCP leases: %w", err)
	}
	for name, raw := range records {
		l, err := s.decode(name, raw)
		if err != nil {
			s.report("read DHCP lease", fmt.Errorf("record %q is left out: %w", name, err))
			continue
		}
		if err := l.where.there(); errors.Is(err, errGone) {
			l.log.Info("dhcp lease forgotten", "reason", err)
			s.report("erase DHCP lease", s.erase(l.key))
			continue
		}
		l.log.Info("dhcp lease found again", "addresses", l.answer().IPs)
		s.start(ctx, l)
	}
	return nil
}

// decode trusts nothing that the record says.
func (s *Server) decode(name string, raw []byte) (*lease, error) {
	var r saved
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	if err := r.validate(name); err != nil {
		return nil, err
	}
	up, err := uptime()
	if err != nil {
		return nil, err
	}
	l := s.newLease(r.Ask, &place{path: r.Ask.NetNS, id: r.NetNSID, ifname: r.Ask.IfName, mac: net.HardwareAddr(r.MAC)})
	for _, saved := range r.Parts {
		p := l.part(saved.Family)
		if p == nil || p.bound != nil {
			return nil, fmt.Errorf("IPv%d: it was not asked for, or is there twice", saved.Family)
		}
		if saved.Granted < 0 || saved.Granted > up {
			return nil, fmt.Errorf("IPv%d: granted %s after the boot, which was %s ago", saved.Family, saved.Granted, up)
		}
		if p.bound, err = p.read(saved.Message, time.Now().Add(saved.Granted-up)); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (r *saved) validate(name string) error {
	if err := r.Ask.Validate(); err != nil {
		return err
	}
	switch {
	case string(recordName(keyOf(r.Ask))) != name:
		return fmt.Errorf("it is of %s", keyOf(r.Ask))
	case !filepath.IsAbs(r.Ask.NetNS) || r.NetNSID == (netns.ID{}):
		return fmt.Errorf("netns %q is not absolute, or has no identity", r.Ask.NetNS)
	case len(r.MAC) != 6:
		return fmt.Errorf("MAC %s is not of Ethernet", r.MAC)
	}
	return nil
}

// part is the lease's half for a family, or nil.
func (l *lease) part(family int) *part {
	for _, p := range l.parts {
		if p.family == family {
			return p
		}
	}
	return nil
}

// uptime is the time since the boot, suspension included.
func uptime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the time since the boot: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
