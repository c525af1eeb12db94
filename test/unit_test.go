package test

import (
	"path/filepath"
	"testing"

	"github.com/berth-net/berth/nettest"
)

func TestSystemdTakesTheAgentsUnit(t *testing.T) {
	t.Parallel()
	requireTools(t, "systemd-analyze")
	h := nettest.NewHost(t, "h")
	// systemd looks for the program; the host's own mount namespace has it.
	h.Run("mount", "-t", "tmpfs", "tmpfs", "/usr/local/bin")
	h.Run("cp", filepath.Join(binaries(t), "berth"), "/usr/local/bin/berth")
	unit, err := filepath.Abs("../build/berth-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	if out := h.Run("systemd-analyze", "verify", "--man=no", "--recursive-errors=one", unit); out != "" {
		t.Errorf("systemd says of %s:\n%s", unit, out)
	}
}
