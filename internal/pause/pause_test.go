package pause_test

import (
	"context"
	"os"
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

// What is gathered is still to be read, and one who waits in vain ends when
// the file is closed.
func TestGatheringWaitsForNews(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for range 2 {
		gathered := make(chan struct{})
		go func() {
			defer close(gathered)
			pause.Gather(r, time.Millisecond)
		}()
		select {
		case <-gathered:
			t.Fatal("nothing was gathered")
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := w.WriteString("news"); err != nil {
			t.Fatal(err)
		}
		<-gathered
		news := make([]byte, 8)
		if n, err := r.Read(news); err != nil || string(news[:n]) != "news" {
			t.Errorf("read %q, %v", news[:n], err)
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pause.Gather(r, time.Hour)
	}()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
}
