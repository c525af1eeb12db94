package state_test

import (
	"bufio"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-net/berth/state"
)

func TestGuardExcludesAndIsHandedOver(t *testing.T) {
	t.Parallel()
	s := state.ForBoot(t.TempDir(), "boot")
	a, err := s.TryGuard("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.TryGuard("a"); !errors.Is(err, state.ErrBusy) {
		t.Errorf("a second guard of the name: %v, want ErrBusy", err)
	}
	b, err := s.TryGuard("b")
	if err != nil {
		t.Fatalf("a guard of another name: %v", err)
	}
	b.Release()

	got := make(chan error, 1)
	go func() {
		g, err := s.Guard(t.Context(), "a")
		if err == nil {
			g.Release()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("the guard was not waited for: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	a.Release()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestWaitingForAGuardEndsWithTheContext(t *testing.T) {
	t.Parallel()
	s := state.ForBoot(t.TempDir(), "boot")
	g, err := s.TryGuard("a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Guard(ctx, "a"); !errors.Is(err, state.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want ErrBusy and DeadlineExceeded", err)
	}
	// Who gave up must not take it later.
	g.Release()
	if g, err = s.Guard(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	g.Release()
}

func TestKillLetsGoOfAGuard(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := helperCommand(dir, "guard")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("helper: %q, %v", line, err)
	}
	s := state.ForBoot(dir, "boot")
	if _, err := s.TryGuard("a"); !errors.Is(err, state.ErrBusy) {
		t.Fatalf("guard of a living process: %v", err)
	}
	cmd.Process.Kill()
	g, err := s.Guard(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	g.Release()
}
