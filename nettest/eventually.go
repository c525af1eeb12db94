package nettest

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Patience is how long Eventually waits: long enough for a machine that is
// busy with other tests, because a condition that holds ends the wait anyway.
const Patience = time.Minute

// Eventually waits until condition returns nil, asking ever less often, and
// fails the test with the last error when Patience is over or the test ends.
func Eventually(t testing.TB, what string, condition func() error) {
	t.Helper()
	if err := Poll(t.Context(), condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Poll is Eventually outside a test. It returns what condition said last.
func Poll(ctx context.Context, condition func() error) error {
	begin := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := condition()
		if err == nil {
			return nil
		}
		if time.Since(begin) > Patience {
			return fmt.Errorf("still after %s: %w", Patience, err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}
