package nettest

import (
	"testing"
	"time"
)

// Patience is how long Eventually waits: long enough for a machine that is
// busy with other tests, because a condition that holds ends the wait anyway.
const Patience = 20 * time.Second

// Eventually waits until condition returns nil, asking ever less often, and
// fails the test with the last error when Patience is over or the test ends.
func Eventually(t testing.TB, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still not after %s: %v", what, Patience, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: not before the test ended: %v", what, err)
		case <-time.After(pause):
		}
	}
}
