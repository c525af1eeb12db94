package attach_test

import (
	"errors"
	"testing"

	"github.com/berth-net/berth/netdev"
	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/attach"
)

func TestAnAddressThatAnswersIsNotUsed(t *testing.T) {
	t.Parallel()
	const probing = `{"type":"berth-ipam","probe":true,"ranges":[[{"subnet":"10.7.0.0/24"}]]}`
	w := newWorld(t)
	container, stranger := nettest.NewHost(t, "container"), nettest.NewHost(t, "stranger")
	nettest.Link(container, "eth0", nil, stranger, "eth0", []string{"10.7.0.2/24"})
	path, _ := container.Namespaces()
	configure := func(a *attach.Attachment) error {
		d, err := a.Make("eth0", func() error { return nil }) // Link has made it
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		return d.Configure(attach.Setup{})
	}
	a, err := w.begin(w.request("c1", path, probing), probing)
	if err != nil {
		t.Fatal(err)
	}
	err = configure(a)
	if !errors.Is(err, netdev.ErrAddressTaken) || code(err) != plugins.CodeTryAgain {
		t.Errorf("configure with a taken address: %v with code %d", err, code(err))
	}
	a.Abort(err)
	if a, err = w.begin(w.request("c1", path, probing), probing); err != nil {
		t.Fatal(err)
	}
	if err := configure(a); err != nil || a.Addresses[0].Prefix.String() != "10.7.0.3/24" {
		t.Errorf("the next try: %v, %v", a.Addresses, err)
	}
	a.Done(&plugins.Result{})
}
