package agent_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-net/berth/nettest"
)

// kvAnswer is what etcd's JSON gateway says to a request for keys.
type kvAnswer struct {
	Header struct {
		Revision string `json:"revision"`
	} `json:"header"`
	Kvs []struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	} `json:"kvs"`
}

// kv asks etcd by its JSON gateway.
func (w *world) kv(request, body string) (answer kvAnswer) {
	w.Helper()
	resp, err := w.server.HTTPClient().Post(w.etcdURL()+"/v3/kv/"+request, "application/json", strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		w.Fatalf("%s: %s, %v", request, resp.Status, err)
	}
	return answer
}

func key64(key string) string { return base64.StdEncoding.EncodeToString([]byte(key)) }

func (w *world) knows(h *nettest.Host, m *member, does bool) {
	w.Helper()
	w.eventually(fmt.Sprintf("%s to know %s: %v", h.Name, m.Name, does), func() error {
		if out := entries(h); strings.Contains(out, m.ips[0].String()+" ") != does {
			return errors.New(out)
		}
		return nil
	})
}

// What a host has missed may be gone from etcd's history when it is back: then
// it reads everything anew.
func TestAHostThatMissedWhatEtcdHasCompacted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	gone, b := w.add(w.hosts[0], "gone"), w.add(w.hosts[1], "b")
	w.everyPair([]*member{gone, b})
	w.cutOff(w.hosts[1])
	w.del(gone)
	a := w.add(w.hosts[0], "a")
	w.kv("compaction", fmt.Sprintf(`{"revision":%q,"physical":true}`, w.kv("range", fmt.Sprintf(`{"key":%q}`, key64("/berth/schema"))).Header.Revision))
	w.letBack(w.hosts[1])
	w.knows(w.hosts[1], gone, false)
	w.everyPair([]*member{a, b})
}

// An etcd that has lost everything has low revisions again, for which a watch
// would wait for ever. Traffic goes on, and a new network works.
func TestAnEtcdThatHasLostEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	a, b := w.add(w.hosts[0], "a"), w.add(w.hosts[1], "b")
	w.everyPair([]*member{a, b})
	w.loseEtcd()
	a.Ping(b.ips[0].String())
	var members []*member
	for i, h := range w.hosts {
		members = append(members, w.addTo(h, fmt.Sprintf("new%d", i), "fixed", fixed))
	}
	w.everyPair(members)
}

func TestKeysOfANewerSchemaAreLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	h := w.hosts[0]
	w.add(h, "old")
	w.agents[h].Kill()
	w.kv("put", fmt.Sprintf(`{"key":%q,"value":%q}`, key64("/berth/schema"), key64("2")))
	if out, err := h.Try("/usr/bin/env", w.asAgent(h, returningName)...); err == nil || !strings.Contains(out, "upgrade it") {
		t.Errorf("an agent that asks before it has read anything: %v\n%s", err, out)
	}
	w.startAgent(h)
	n := 0
	w.eventually("the refusal", func() error {
		n++
		_, err := tryAdd(h, request(h.NewContainer(fmt.Sprintf("c%d", n))))
		if err == nil {
			t.Fatal("it was added")
		}
		if !strings.Contains(err.Error(), "the cluster's is 2, this berth knows 1; upgrade it") {
			return err
		}
		return nil
	})
	w.eventually("the agent to say so", func() error {
		if out := w.agents[h].Output(); !strings.Contains(out, "upgrade it") {
			return errors.New(out)
		}
		return nil
	})
}
