package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/agent/api"
	"github.com/berth-net/berth/endpoint"
	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/state"
)

// serve answers with handle until the test ends.
func serve(t *testing.T, handle api.Handler) *state.Store {
	t.Helper()
	store := state.ForBoot(t.TempDir(), "boot")
	l, err := api.Listen(store)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(context.Background(), l, handle) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return store
}

// What a client encodes is what encoding/json makes of the same struct, and
// the agent's answers are read as it would.
func TestRequestsAndAnswersAreTheirStructs(t *testing.T) {
	t.Parallel()
	key := endpoint.Key{Network: "front", ContainerID: "c1", IfName: "eth0"}
	for _, v := range []any{
		&api.Request{Version: api.Version, Changed: &api.Changed{Key: key}, Names: &api.Names{Key: key}, Status: &struct{}{}},
		&api.Answer{
			Segment: &api.Segment{VNI: 42, Local: netip.MustParseAddr("192.0.2.1"), IPAM: json.RawMessage(`{"type":"berth-ipam"}`)},
			Found:   []api.Endpoint{{ContainerID: "<c1>", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}},
			Status:  &api.Status{Host: "h1", Started: time.Unix(1, 0).UTC(), Warnings: []string{"\"quoted\""}},
		},
	} {
		got, err := coldjson.Marshal(v)
		want, wantErr := json.Marshal(v)
		if err != nil || wantErr != nil || string(got) != string(want) {
			t.Errorf("%s, %v\nwant %s, %v", got, err, want, wantErr)
		}
		back := reflect.New(reflect.TypeOf(v).Elem())
		if err := coldjson.Unmarshal(want, back.Interface()); err != nil || !reflect.DeepEqual(back.Interface(), v) {
			t.Errorf("%s is decoded as %+v, %v", want, back.Elem(), err)
		}
	}
}

func TestRequestsAreAnsweredInTurn(t *testing.T) {
	t.Parallel()
	first := make(chan struct{})
	store := serve(t, func(_ context.Context, req *api.Request) (*api.Answer, error) {
		if req.Lookup != nil {
			<-first
			return &api.Answer{Found: []api.Endpoint{{Name: req.Lookup.Name}}}, nil
		}
		return nil, plugins.Errorf(plugins.CodeTryAgain, "no luck")
	})
	c, err := api.Dial(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.Alive() {
		t.Error("the agent is dead before anything is asked")
	}
	for _, req := range []api.Request{{Lookup: &api.Lookup{Name: "a"}}, {Changed: &api.Changed{}}, {Lookup: &api.Lookup{Name: "b"}}} {
		if err := c.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	close(first)
	for _, want := range []string{"a", "", "b"} {
		answer, err := c.Answer()
		var coded *plugins.Error
		switch {
		case want == "" && (!errors.As(err, &coded) || coded.Code != plugins.CodeTryAgain):
			t.Errorf("answer %+v, %v; want an error with code 11", answer, err)
		case want != "" && (err != nil || answer.Found[0].Name != want):
			t.Errorf("answer %+v, %v; want %s", answer, err, want)
		}
	}
}

func TestWhatIsNoRequestIsToldSo(t *testing.T) {
	t.Parallel()
	store := serve(t, func(context.Context, *api.Request) (*api.Answer, error) { return &api.Answer{}, nil })
	for sent, want := range map[string]string{
		`{"version":1,"status":{}}`:                          "restart it after an upgrade",
		`{"version":2,"status":5}`:                           "decode request: json: cannot unmarshal number",
		`{"version":2,"status":{}`:                           "unexpected EOF",
		`{"version":2,"status":{}} {"version":2,"coming":0}`: "{}\n{\"error\"",
		"": "",
	} {
		if got := say(t, store, sent); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%.40q is answered by %q, want %q", sent, got, want)
		}
	}
}

// say sends text and nothing after it, and returns what comes back.
func say(t *testing.T, store *state.Store, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", api.Socket(store))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}
