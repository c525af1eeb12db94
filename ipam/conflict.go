package ipam

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/state"
)

// Conflict is an address of a range that a probe found another machine of the
// segment to have. It is the last to be given again, and is then probed anew.
type Conflict struct {
	Address netip.Addr   `json:"address"`
	MAC     endpoint.MAC `json:"mac"` // of who has it
	Seen    time.Time    `json:"seen"`
}

// Note records a conflict of a network until the address is leased again.
func Note(tx *state.Tx, network string, c Conflict) error {
	x, err := openIndex(tx, network)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(c)
	if err == nil {
		err = x.b.Put(key(keyConflict, addrBytes(c.Address)), raw)
	}
	if err != nil {
		return fmt.Errorf("note conflict about %s: %w", c.Address, err)
	}
	return nil
}

// Conflicts lists those of a network in the order of the addresses.
func Conflicts(tx *state.Tx, network string) (all []Conflict, err error) {
	x, ok := findIndex(tx, network)
	if !ok {
		return nil, nil
	}
	c := x.b.Cursor()
	for k, raw := c.Seek([]byte{keyConflict}); len(k) > 0 && k[0] == keyConflict; k, raw = c.Next() {
		var found Conflict
		if err := json.Unmarshal(raw, &found); err != nil {
			return nil, fmt.Errorf("decode conflict about %s: %w", parseAddrBytes(k[1:]), err)
		}
		all = append(all, found)
	}
	return all, nil
}

// refuses tells that the request must not get an address.
func (req *Request) refuses(a netip.Addr) bool { return slices.Contains(req.Avoid, a) }
