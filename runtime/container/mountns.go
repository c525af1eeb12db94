package container

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// mountThread is a thread of the supervisor with a mount namespace of its
// own. The container's root file system is mounted there, and the init
// process is started from there.
//
// So the host's mount table does not grow with the number of containers, each
// of which would copy it, and whatever kills the supervisor also removes the
// mounts.
type mountThread struct{ work chan func() }

// newMountThread makes it see every mount that the host has now, and unmounts
// that come later.
func newMountThread() (*mountThread, error) {
	m := &mountThread{work: make(chan func())}
	ready := make(chan error)
	go m.run(ready)
	return m, <-ready
}

func (m *mountThread) run(ready chan<- error) {
	// Never unlocked: the thread, which is the init process's parent, must
	// not end before the supervisor, or the kernel sends the parent death
	// signal; and nobody else may run in this mount namespace.
	runtime.LockOSThread()
	// CLONE_FS first: a thread that shares its root and working directory
	// may not leave its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		ready <- fmt.Errorf("make mount namespace: %w", err)
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		ready <- fmt.Errorf("make mounts slave: %w", err)
		return
	}
	ready <- nil
	for fn := range m.work {
		fn()
	}
}

// do runs fn on the thread.
func (m *mountThread) do(fn func() error) error {
	done := make(chan error)
	m.work <- func() { done <- fn() }
	return <-done
}
