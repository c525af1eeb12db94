package container

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// MaybeInit becomes a container's first process, and never returns, where
// libcontainer has started this process to be one: /proc/self/exe with the
// one argument "init". Call it from an init function of a binary that also
// links libcontainer/nsenter.
func MaybeInit() {
	if len(os.Args) != 2 || os.Args[1] != "init" {
		return
	}
	// Without its supervisor a container has no streams, no log and nobody to
	// clean up after it, so it ends with it. libcontainer restores the signal
	// after it has changed the user, but a fork before has cleared what
	// configs.Config.ParentDeathSignal had set. An exec'ed process is the
	// client's and goes on.
	if os.Getenv("_LIBCONTAINER_INITTYPE") == "standard" {
		unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	}
	libcontainer.Init()
}
