package attach_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
	"github.com/berth-net/berth/state"
)

func code(err error) plugins.Code {
	var coded *plugins.Error
	if errors.As(err, &coded) {
		return coded.Code
	}
	return 0
}

func TestAnAttachmentComesAndGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	a := w.add("c1", path, embedded)
	if got := a.Addresses[0].Prefix.String(); got != "10.7.0.2/29" {
		t.Errorf("address %s", got)
	}
	if _, err := w.begin(w.request("c1", path, embedded), embedded); !errors.Is(err, attach.ErrAttached) || code(err) != plugins.CodeAttached {
		t.Errorf("a second Add: %v, want ErrAttached with code 100", err)
	}
	for range 2 { // the second finds nothing
		if err := w.del(t.Context(), w.request("c1", "", embedded)); err != nil {
			t.Error(err)
		}
	}
	w.expectNothing()
}

func TestAbortTakesEverythingBackLastFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	a, err := w.begin(w.request("c1", path, embedded), embedded)
	if err != nil {
		t.Fatal(err)
	}
	var order string
	a.OnAbort(func() error { order += "1"; return nil })
	a.OnAbort(func() error { order += "2"; return nil })
	cause := errors.New("no luck")
	if err := a.Abort(cause); !errors.Is(err, cause) || order != "21" {
		t.Errorf("abort: %v in order %s", err, order)
	}
	w.expectNothing()
}

func TestWhatCannotBeTakenBackStaysOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	a, err := w.begin(w.request("c1", path, embedded), embedded)
	if err != nil {
		t.Fatal(err)
	}
	a.OnAbort(func() error { return errors.New("busy") })
	a.Abort(errors.New("no luck"))
	records, err := attach.Records(w.store, "net")
	if err != nil || len(records) != 1 || records[0].Phase != endpoint.Intent {
		t.Errorf("records %v, %v; want the intent", records, err)
	}
	b, err := w.begin(w.request("c1", path, embedded), embedded)
	if err != nil {
		t.Fatal(err)
	}
	if b.Stale == nil || b.Addresses[0].Prefix.String() != "10.7.0.2/29" {
		t.Errorf("a new Add: stale %v, address %v", b.Stale, b.Addresses)
	}
	b.Abort(errors.New("enough"))
}

func TestAnAddUnderWayIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	req := w.request("c1", path, embedded)
	a, err := w.begin(req, embedded)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.begin(req, embedded); !errors.Is(err, state.ErrBusy) || code(err) != plugins.CodeTryAgain {
		t.Errorf("a second Add at once: %v, want ErrBusy with code 11", err)
	}
	records, _ := attach.Records(w.store, "net")
	if done, err := attach.Reap(t.Context(), w.store, records[0], plugins.Network{}, w.del); done || err != nil {
		t.Errorf("reap of an Add under way: %v, %v", done, err)
	}
	if err := attach.GC(t.Context(), w.store, &plugins.GCRequest{Network: req.Network}, w.del); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.del(short, req); code(err) != plugins.CodeTryAgain {
		t.Errorf("Del of an Add under way: %v, want code 11", err)
	}
	waited := make(chan error)
	go func() { waited <- w.del(context.Background(), req) }()
	if err := a.Done(&plugins.Result{}); err != nil {
		t.Error(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
	w.expectNothing()
}

func TestReapSparesARecordThatIsAnotherByNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	w.add("c1", path, embedded)
	old, _ := attach.Records(w.store, "net")
	if err := w.del(t.Context(), w.request("c1", path, embedded)); err != nil {
		t.Fatal(err)
	}
	w.add("c1", path, embedded)
	if done, err := attach.Reap(t.Context(), w.store, old[0], plugins.Network{}, w.del); done || err != nil {
		t.Errorf("reap by an old record: %v, %v", done, err)
	}
}

func TestDeadHolderOfAnAddressIsEndedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // .2 and .3 are all there is
	dead, end := w.container("dead")
	w.add("dead", dead, embedded)
	live, _ := w.container("live")
	w.add("live", live, embedded)
	path, _ := w.container("new")
	if _, err := w.begin(w.request("new", path, embedded), embedded); !errors.Is(err, ipam.ErrExhausted) {
		t.Fatalf("while both live: %v, want ErrExhausted", err)
	}
	end()
	a := w.add("new", path, embedded)
	if got := a.Addresses[0].Prefix.String(); got != "10.7.0.2/29" {
		t.Errorf("address %s, want that of the dead", got)
	}
}

func TestSameAddressAfterTheNamespaceDied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, end := w.container("first")
	w.add("c1", first, embedded)
	other, _ := w.container("other")
	w.add("c2", other, embedded)
	end()
	second, _ := w.container("second")
	if a := w.add("c1", second, embedded); a.Stale == nil || a.Addresses[0].Prefix.String() != "10.7.0.2/29" {
		t.Errorf("stale %v, addresses %v", a.Stale, a.Addresses)
	}
}

func TestGCKeepsTheValid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []string{"c1", "c2"} {
		path, _ := w.container(c)
		w.add(c, path, w.fake(""))
	}
	w.calls()
	req := w.request("", "", w.fake(""))
	gc := &plugins.GCRequest{Network: req.Network, Valid: []plugins.Attachment{{ContainerID: "c1", IfName: "eth0"}}}
	if err := attach.GC(t.Context(), w.store, gc, w.del); err != nil {
		t.Fatal(err)
	}
	records, _ := attach.Records(w.store, "net")
	if len(records) != 1 || records[0].ContainerID != "c1" {
		t.Errorf("records after GC: %v", records)
	}
	if got, want := w.calls(), "DEL c2 eth0 A=b;K=v; GC"; got != want {
		t.Errorf("calls %q, want %q", got, want)
	}
}

func TestDelegatedAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	a := w.add("c1", path, w.fake(""))
	if len(a.Addresses) != 1 || a.Addresses[0].Prefix.String() != "10.7.0.9/24" || a.Addresses[0].Gateway.String() != "10.7.0.1" ||
		len(a.IPAM.Routes) != 1 || len(a.Record.Addresses) != 1 {
		t.Errorf("addresses %v, routes %v, record %v", a.Addresses, a.IPAM.Routes, a.Record.Addresses)
	}
	req := w.request("c1", path, w.fake(""))
	if err := attach.DelegateCheck(t.Context(), req); err != nil {
		t.Error(err)
	}
	if err := w.del(t.Context(), req); err != nil {
		t.Error(err)
	}
	const who = " c1 eth0 A=b;K=v"
	if got, want := w.calls(), "ADD"+who+"; CHECK"+who+"; DEL"+who; got != want {
		t.Errorf("calls %q, want %q", got, want)
	}
	w.expectNothing()
}

func TestDelegateIsToldDelWhenItsAddFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	conf := w.fake("ADD")
	a, err := w.begin(w.request("c1", path, conf), conf)
	if err != nil {
		t.Fatal(err)
	}
	err = a.Delegate(t.Context())
	if code(err) != plugins.CodeTryAgain || !strings.Contains(err.Error(), fakePlugin) || !strings.Contains(err.Error(), "come back later") {
		t.Errorf("error %v with code %d", err, code(err))
	}
	a.Abort(err)
	if got := w.calls(); !strings.HasPrefix(got, "ADD ") || !strings.Contains(got, "; DEL ") {
		t.Errorf("calls %q, want ADD and then DEL", got)
	}
	w.expectNothing()
}

func TestDelegateThatCannotReleaseKeepsTheRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	w.add("c1", path, w.fake("DEL"))
	tornDown := false
	err := attach.End(t.Context(), w.store, w.request("c1", path, w.fake("DEL")), func(*endpoint.Record) error {
		tornDown = true
		return nil
	})
	if err == nil || !tornDown {
		t.Errorf("Del: %v, torn down %v; want an error and the devices gone", err, tornDown)
	}
	if err := w.del(t.Context(), w.request("c1", path, w.fake(""))); err != nil {
		t.Error(err)
	}
	w.expectNothing()
}

func TestMissingDelegateIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	for _, kind := range []string{"no-such-plugin", "../" + fakePlugin} {
		conf := `{"type":"` + kind + `"}`
		a, err := w.begin(w.request("c1", path, conf), conf)
		if err == nil {
			err = a.Delegate(t.Context())
			a.Abort(err)
		}
		if code(err) != plugins.CodeInvalidConfig || !strings.Contains(err.Error(), kind) {
			t.Errorf("%s: %v with code %d", kind, err, code(err))
		}
	}
}

func TestRangesOfTheRuntimeComeFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.container("c1")
	req := w.request("c1", path, embedded)
	req.Config = []byte(`{"runtimeConfig":{"ipRanges":[[{"subnet":"10.8.0.0/24"}]]},"ipam":` + embedded + `}`)
	a, err := w.begin(req, embedded)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Addresses) != 2 || a.Addresses[0].Prefix.String() != "10.8.0.2/24" {
		t.Errorf("addresses %v", a.Addresses)
	}
	a.Abort(errors.New("enough"))
}
