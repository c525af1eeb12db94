// Command berth-cni is every CNI plugin of the suite in one static binary,
// chosen by the name that it is called by.
package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/berth-net/berth/cniwire"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/table"
	"github.com/berth-net/berth/state"
)

// heap is where the garbage collector, off for the milliseconds that a plugin
// lives, begins to work after all.
const heap = 12 << 20

// The drivers enter namespaces; main's goroutine stays on the first thread,
// whose namespaces are the process's.
func init() { runtime.LockOSThread() }

func main() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(heap)
	call := cniwire.Call{
		Name:   filepath.Base(os.Args[0]),
		Getenv: os.Getenv,
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		Lookup: lookup,
	}
	os.Exit(call.Run(context.Background()))
}

func lookup(name string) (plugins.Driver, error) {
	store, err := state.Default()
	if err != nil {
		return nil, err
	}
	return table.Lookup(name, store), nil
}
