package state_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/state"
)

// The test binary is also the other processes of these tests.
const (
	helper    = "BERTH_TEST_HELPER"
	helperDir = "BERTH_TEST_DIR"
)

func TestMain(m *testing.M) {
	s := state.ForBoot(os.Getenv(helperDir), "boot")
	switch os.Getenv(helper) {
	case "":
		os.Exit(m.Run())
	case "guard":
		if _, err := s.TryGuard("a"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		<-time.After(time.Minute) // until it is killed
	case "count":
		for range 10 {
			if err := increment(s); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	case "churn":
		for {
			if err := increment(s); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}
}

var bucket, counter = []byte("test"), []byte("counter")

func increment(s *state.Store) error {
	return s.Update(func(tx *state.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		n := uint64(0)
		if raw := b.Get(counter); raw != nil {
			n = binary.BigEndian.Uint64(raw)
		}
		return b.Put(counter, binary.BigEndian.AppendUint64(nil, n+1))
	})
}

func count(t *testing.T, s *state.Store) (n uint64) {
	t.Helper()
	err := s.View(func(tx *state.Tx) error {
		if b := tx.Bucket(bucket); b != nil {
			n = binary.BigEndian.Uint64(b.Get(counter))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func put(t *testing.T, s *state.Store) {
	t.Helper()
	if err := increment(s); err != nil {
		t.Fatal(err)
	}
}

const (
	oldBoot = "11111111-1111-1111-1111-111111111111"
	newBoot = "22222222-2222-2222-2222-222222222222"
)

func TestNothingSurvivesABoot(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	before := state.ForBoot(root, oldBoot)
	put(t, before)
	other := filepath.Join(root, "not-a-boot")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	after := state.ForBoot(root, newBoot)
	if n := count(t, after); n != 0 {
		t.Errorf("the new boot sees %d", n)
	}
	put(t, after)
	if _, err := os.Stat(before.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old boot's directory is still there: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a stranger's directory was removed: %v", err)
	}
	if n := count(t, after); n != 1 {
		t.Errorf("the new boot sees %d, want 1", n)
	}
}

func TestViewOfNothing(t *testing.T) {
	t.Parallel()
	s := state.ForBoot(filepath.Join(t.TempDir(), "missing"), "boot")
	if n := count(t, s); n != 0 {
		t.Errorf("an empty state has %d", n)
	}
	if _, err := os.Stat(filepath.Dir(s.Dir())); err == nil {
		t.Error("looking created the directory")
	}
}

func TestEmptyFileIsAnEmptyState(t *testing.T) {
	t.Parallel()
	s := state.ForBoot(t.TempDir(), "boot")
	put(t, s)
	if err := os.Truncate(file(s), 0); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s); n != 0 {
		t.Errorf("an empty file has %d", n)
	}
	put(t, s)
	if n := count(t, s); n != 1 {
		t.Errorf("after a write: %d, want 1", n)
	}
}

func file(s *state.Store) string { return filepath.Join(s.Dir(), "state.db") }

// A damaged file must be an error that says what to do, and no crash: its
// pages are mapped, and the kernel kills who reads past a mapped file's end.
func TestDamagedFileIsAnError(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, path string){
		"one page":  truncateTo(4096),
		"two pages": truncateTo(2 * 4096),
		"half":      truncateTo(5 * 4096),
		"not pages": truncateTo(4096 + 17),
		"garbage":   overwrite,
		"zeroed":    zero,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := state.ForBoot(t.TempDir(), "boot")
			fill(t, s)
			damage(t, file(s))
			for verb, err := range map[string]error{
				"Update": increment(s),
				"View":   s.View(func(tx *state.Tx) error { return walk(tx) }),
			} {
				if !errors.Is(err, state.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), "state.db") {
					t.Errorf("%s: %v, want ErrCorrupt with the file's name", verb, err)
				}
			}
		})
	}
}

func truncateTo(size int64) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
}

func overwrite(t *testing.T, path string) { fillFile(t, path, 0xa5) }
func zero(t *testing.T, path string)      { fillFile(t, path, 0) }

func fillFile(t *testing.T, path string, with byte) {
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		raw[i] = with
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fill makes a state of a hundred pages.
func fill(t *testing.T, s *state.Store) {
	t.Helper()
	for i := range 4 {
		err := s.Update(func(tx *state.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			for j := range 25 {
				if err := b.Put(fmt.Appendf(nil, "%d/%d", i, j), make([]byte, 3000)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func walk(tx *state.Tx) error {
	return tx.Bucket(bucket).ForEach(func(k, v []byte) error { return nil })
}

func TestManyProcessesAtOnce(t *testing.T) {
	t.Parallel()
	const processes = 32
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			if out, err := helperCommand(dir, "count").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if n := count(t, state.ForBoot(dir, "boot")); n != 10*processes {
		t.Errorf("%d of %d transactions are there", n, 10*processes)
	}
}

func helperCommand(dir, what string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helper+"="+what, helperDir+"="+dir)
	return cmd
}

// Processes are killed in the middle of what they do, the creation of the
// file included; the state must be whole each time.
func TestKillLeavesTheStateWhole(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		dir := t.TempDir()
		s := state.ForBoot(dir, "boot")
		last := uint64(0)
		for range 5 {
			cmd := helperCommand(dir, "churn")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Duration(i)*time.Millisecond/2, func() { cmd.Process.Kill() })
			cmd.Wait()
			n := count(t, s)
			if n < last {
				t.Fatalf("%d transactions are there, %d were before", n, last)
			}
			put(t, s)
			last = n + 1
		}
	}
}
