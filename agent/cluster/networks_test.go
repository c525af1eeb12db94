package cluster

import (
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func anyConfig(uint32) (json.RawMessage, error) { return json.RawMessage(`{}`), nil }

// A name and a VNI are one network's, whatever this host's view shows.
func TestANameAndAVNIAreGivenOnce(t *testing.T) {
	s := newServer(t)
	a, b := s.loaded("a"), s.loaded("b")
	made, err := a.CreateNetwork(t.Context(), Network{Name: "front"}, anyConfig)
	if err != nil || made.VNI < firstVNI {
		t.Fatalf("%+v, %v", made, err)
	}
	before := s.keys()
	if _, err := b.CreateNetwork(t.Context(), Network{Name: "front"}, anyConfig); !errors.Is(err, ErrExists) {
		t.Errorf("the name again: %v", err)
	}
	if _, err := b.CreateNetwork(t.Context(), Network{Name: "back", VNI: made.VNI}, anyConfig); !errors.Is(err, ErrVNITaken) || !strings.Contains(err.Error(), "front") {
		t.Errorf("the VNI again: %v", err)
	}
	s.expect(before)
}

// A network with an endpoint stays. With it goes all that is its own, and
// nothing of one whose name begins alike.
func TestRemoveNetwork(t *testing.T) {
	s := newServer(t)
	s.network("front2", 8)
	s.put(key(kindBlock, "front2", "10.47.0.0_30"), of("a"), key(kindClaim, "front2", "10.47.0.9"), of("a"))
	others := s.keys()
	s.network("front", 7)
	c, e := s.loaded("a"), endpointOn("b", "c1")
	s.put(tinyBlock("10.46.0.0"), of("a"), claimKey("front", netip.MustParseAddr("10.46.0.200")), of("a"), endpointKey(e), `{"container":"c1","host":"b"}`)
	before := s.keys()
	if err := c.RemoveNetwork(t.Context(), "front"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "on host b") {
		t.Errorf("a network in use: %v", err)
	}
	s.expect(before)
	s.drop(endpointKey(e))
	s.put(key(kindEndpoint, "front2", "b", "c1", "eth0"), `{}`)
	if err := c.RemoveNetwork(t.Context(), "front"); err != nil {
		t.Error(err)
	}
	s.drop(key(kindEndpoint, "front2", "b", "c1", "eth0"))
	s.expect(others)
	if err := c.RemoveNetwork(t.Context(), "front"); !errors.Is(err, ErrNoNetwork) {
		t.Errorf("once more: %v", err)
	}
}

// A cluster of another schema is not written to.
func TestAnotherSchemaIsNotWrittenTo(t *testing.T) {
	s := newServer(t)
	s.network("front", 7)
	s.put(schemaKey, "2")
	before := s.keys()
	c := s.client("a")
	if _, err := c.AcquireBlock(t.Context(), "front", tiny); !errors.Is(err, ErrSchema) {
		t.Errorf("before anything was read: %v", err)
	}
	if _, err := c.load(t.Context()); !errors.Is(err, ErrSchema) {
		t.Errorf("to read: %v", err)
	}
	if _, err := c.AcquireBlock(t.Context(), "front", tiny); !errors.Is(err, ErrSchema) {
		t.Errorf("afterwards: %v", err)
	}
	if err := c.Admitted(t.Context()); !errors.Is(err, ErrSchema) {
		t.Errorf("admitted: %v", err)
	}
	s.expect(before)
}

// The memory of an agent has the networks, this host's blocks and how far etcd
// had come; of the others' blocks it has none, for they may be freed.
func TestMemory(t *testing.T) {
	s, c, _ := lossy(t)
	path := filepath.Join(t.TempDir(), "cluster.json")
	if err := c.Remember(path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a client that has read nothing has overwritten the memory")
	}
	close(c.synced)
	c.lastSeen = time.Now().Add(-time.Hour)
	if err := c.Remember(path); err != nil {
		t.Fatal(err)
	}
	next := s.client("a")
	if err := next.Recall(path); err != nil {
		t.Fatal(err)
	}
	blocks := map[netip.Prefix]string{netip.MustParsePrefix("10.46.0.0/30"): "a"}
	if n := next.View().Network("front"); n == nil || n.VNI != 7 || !maps.Equal(next.View().Blocks("front"), blocks) {
		t.Errorf("remembered %+v and blocks %v", n, next.View().Blocks("front"))
	}
	if next.view.ageNow() != c.view.ageNow() {
		t.Errorf("the age is %+v, was %+v", next.view.ageNow(), c.view.ageNow())
	}
	was, _ := c.Health()
	if is, _ := next.Health(); is.Sub(was).Abs().Seconds() > 1 {
		t.Errorf("etcd has answered at %s, was %s", is, was)
	}
}
