package pause_test

import (
	"context"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/pause"
)

func TestAPauseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	if !pause.For(t.Context(), time.Nanosecond) {
		t.Error("a pause that nothing ends is cut short")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if pause.For(ctx, time.Hour) {
		t.Error("a pause outlasts its context")
	}
}
