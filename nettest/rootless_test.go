package nettest_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// insideRootless keeps the test from starting itself without end.
const insideRootless = "NETTEST_ROOTLESS"

// The package's own tests, by a user without any right, under "unshare -rn".
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Getenv(insideRootless) != "" {
		t.Skip("this is the run without root")
	}
	unshare := []string{"unshare", "-rn"}
	if os.Geteuid() == 0 {
		unshare = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, unshare...)
	}
	if out, err := exec.Command(unshare[0], append(unshare[1:], "true")...).CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("user namespaces: %v: %s", err, out)
		}
		t.Skipf("user namespaces: %v: %s", err, out)
	}
	args := append(unshare[1:], readableCopy(t), "-test.short", "-test.v", "-test.skip=README")
	cmd := exec.CommandContext(t.Context(), unshare[0], args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), insideRootless+"=1", "CI=true", "TMPDIR=/tmp")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, test := range []string{"TestHostsReachEachOtherThroughASwitch", "TestSnifferSeesWhatWasSentAndNothingElse", "TestAContainerIsAPinnedNetns"} {
		if !strings.Contains(string(out), "--- PASS: "+test) {
			t.Errorf("%s did not pass without root:\n%s", test, out)
		}
	}
}

// readableCopy is this test binary where any user may run it: the build
// directory of go test is its owner's.
func readableCopy(t *testing.T) string {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	dir, err := os.MkdirTemp("/tmp", "nettest-rootless-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "nettest.test")
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
