// Package pause waits: between attempts, and for news to come together.
package pause

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// For waits, and is false when ctx ends first.
func For(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Gather waits until there is something to read from a file, and then d more:
// who reads all the while is woken for each bit of what belongs together. An
// error of the file is left to the reading.
func Gather(f *os.File, d time.Duration) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	err = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
	if err == nil {
		time.Sleep(d)
	}
}
