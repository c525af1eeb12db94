package netns_test

import (
	"path/filepath"
	"testing"

	"github.com/berth-net/berth/netns"
)

// A container that dies and comes back at once gets the inode number of its
// dead namespace, and must not be taken for it.
func TestANamespaceIsNotItsSuccessor(t *testing.T) {
	seen := map[uint64]netns.ID{}
	for range 1000 {
		id := identityOfANew(t)
		predecessor, reused := seen[id.Ino]
		if reused && predecessor == id {
			t.Fatalf("two namespaces have the identity %+v", id)
		}
		if reused {
			return
		}
		seen[id.Ino] = id
	}
	t.Error("the kernel gave no inode number again, so nothing was tested")
}

func identityOfANew(t *testing.T) netns.ID {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	id, err := ns.ID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIdentityOfAPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ns")
	ns, err := netns.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	id, err := ns.ID()
	ns.Close()
	if err != nil || !id.Is(path) {
		t.Errorf("%+v is not the namespace at its own path: %v", id, err)
	}
	if err := netns.Unpin(path); err != nil {
		t.Fatal(err)
	}
	if id.Is(path) {
		t.Error("the namespace is gone, and its path still counts as it")
	}
	other, err := netns.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer netns.Unpin(path)
	defer other.Close()
	if id.Is(path) {
		t.Error("another namespace at the path is taken for the first")
	}
}
