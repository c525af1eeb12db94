package attach_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

const probing = `{"type":"berth-ipam","probe":true,"ranges":[[{"subnet":"10.7.0.0/24","rangeEnd":"10.7.0.5"}],[{"subnet":"fd07::/64"}]]}`

// probed is a container on a segment where a stranger has some addresses.
func probed(t *testing.T, w *world, taken ...string) (path string, configure func(*attach.Attachment, attach.Setup) error) {
	t.Helper()
	container, stranger := nettest.NewHost(t, "container"), nettest.NewHost(t, "stranger")
	nettest.Link(container, "eth0", nil, stranger, "eth0", taken)
	path, _ = container.Namespaces()
	return path, func(a *attach.Attachment, s attach.Setup) error {
		d, err := a.Make("eth0", func() error { return nil }) // Link has made it
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		return d.Configure(s)
	}
}

// addresses are those of an attachment, in words.
func addresses(a *attach.Attachment) string { return fmt.Sprint(a.Record.Addresses) }

func TestAnAddressThatAnswersIsPassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, configure := probed(t, w, "10.7.0.2/24", "10.7.0.3/24", "fd07::2/64")
	a, err := w.begin(w.request("c1", path, probing), probing)
	if err != nil {
		t.Fatal(err)
	}
	if err := configure(a, attach.Setup{}); err != nil {
		t.Fatal(err)
	}
	if got, want := addresses(a), "[10.7.0.4/24 fd07::3/64]"; got != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
	if err := a.Done(&plugins.Result{}); err != nil {
		t.Fatal(err)
	}
	var taken []ipam.Conflict
	var leased []netip.Addr
	err = w.store.View(func(tx *state.Tx) (err error) {
		if leased, err = ipam.Leased(tx, a.Record.Key); err != nil {
			return err
		}
		taken, err = ipam.Conflicts(tx, "net")
		return err
	})
	if err != nil || len(leased) != 2 || fmt.Sprint(leased) != "[10.7.0.4 fd07::3]" {
		t.Errorf("leased %v, %v", leased, err)
	}
	if len(taken) != 3 || taken[0].Address.String() != "10.7.0.2" || len(taken[0].MAC) != 6 {
		t.Errorf("noted conflicts %+v, want the three addresses of the stranger", taken)
	}
}

func TestNoAddressIsLeftBesideTheSegments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, configure := probed(t, w, "10.7.0.2/24", "10.7.0.3/24", "10.7.0.4/24", "10.7.0.5/24")
	a, err := w.begin(w.request("c1", path, probing), probing)
	if err != nil {
		t.Fatal(err)
	}
	err = configure(a, attach.Setup{})
	if !errors.Is(err, ipam.ErrExhausted) || !errors.Is(err, netdev.ErrAddressTaken) || code(err) != plugins.CodeTryAgain {
		t.Errorf("configure: %v with code %d, want ErrExhausted and 11", err, code(err))
	}
	a.Abort(err)
	w.expectNothing()
}

// One that was asked for is refused, with the MAC of who has it.
func TestAnAddressThatWasAskedForIsNotReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, configure := probed(t, w, "10.7.0.3/24")
	req := w.request("c1", path, probing)
	req.Runtime.IPs = []netip.Prefix{netip.MustParsePrefix("10.7.0.3/24")}
	a, err := w.begin(req, probing)
	if err != nil {
		t.Fatal(err)
	}
	err = configure(a, attach.Setup{})
	var taken *netdev.TakenError
	if !errors.As(err, &taken) || !strings.Contains(err.Error(), taken.MAC.String()+" answers for 10.7.0.3") || code(err) != plugins.CodeTryAgain {
		t.Errorf("configure: %v with code %d", err, code(err))
	}
	a.Abort(err)
	w.expectNothing()
}

func TestAnAddressThatAnswersIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, configure := probed(t, w, "10.7.0.2/24")
	a, err := w.begin(w.request("c1", path, probing), probing)
	if err != nil {
		t.Fatal(err)
	}
	err = configure(a, attach.Setup{Pinned: true})
	if !errors.Is(err, netdev.ErrAddressTaken) || code(err) != plugins.CodeTryAgain {
		t.Errorf("configure with a taken address: %v with code %d", err, code(err))
	}
	a.Abort(err)
	if a, err = w.begin(w.request("c1", path, probing), probing); err != nil {
		t.Fatal(err)
	}
	if err := configure(a, attach.Setup{Pinned: true}); err != nil || a.Addresses[0].Prefix.String() != "10.7.0.3/24" {
		t.Errorf("the next try: %v, %v", a.Addresses, err)
	}
	a.Done(&plugins.Result{})
}
