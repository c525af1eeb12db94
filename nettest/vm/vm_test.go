package vm

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestModulesComeWithWhatTheyDependOn(t *testing.T) {
	t.Parallel()
	k := kernel(t, "kernel/net/a.ko: kernel/lib/b.ko kernel/lib/c.ko\nkernel/lib/b.ko: kernel/lib/c.ko\nkernel/lib/c.ko:\nkernel/net/d.ko:\n")
	got, err := k.Modules([]string{"net/a.ko"})
	if want := []string{"kernel/lib/b.ko", "kernel/lib/c.ko", "kernel/net/a.ko"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("modules %v, %v; want %v", got, err, want)
	}
	if got, err := k.Modules([]string{"net/*"}); err != nil || len(got) != 4 {
		t.Errorf("modules of net: %v, %v", got, err)
	}
	if _, err := k.Modules([]string{"net/a.ko", "net/gone.ko"}); err == nil || !strings.Contains(err.Error(), "net/gone.ko") {
		t.Errorf("a module that does not exist: %v", err)
	}
}

// kernel is one without anything but an index of modules.
func kernel(t *testing.T, index string) *Kernel {
	t.Helper()
	root := t.TempDir()
	for path, content := range map[string]string{"boot/vmlinuz-1.2-x": "", "lib/modules/1.2-x/modules.dep": index} {
		write(t, filepath.Join(root, path), content)
	}
	k, err := FindKernel(root)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTestsThatNeedAFeatureAreFound(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "a/b/x_test.go"), `package b
func TestOne(t *testing.T) { nettest.RequireKernel(t, nettest.SCTP) }
func TestTwo(t *testing.T) { t.Run("", func(t *testing.T) { nettest.RequireKernel(t, nettest.SCTP) }) }
func TestThree(t *testing.T) { other.RequireKernel(t) }
func TestFour(t *testing.T) { nettest.RequireKernel(t, nettest.BridgeNetfilter) }`)
	got, err := Needing(root, "example.org/m")
	want := []Package{{"example.org/m/a/b", []string{"TestOne", "TestTwo"}, ""}, {"example.org/m/a/b", []string{"TestFour"}, "br_netfilter"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("found %+v, %v; want %+v", got, err, want)
	}
	write(t, filepath.Join(root, "a/y_test.go"), "package a\nfunc helper(t *testing.T) { nettest.RequireKernel(t, nettest.SCTP) }")
	if _, err := Needing(root, "example.org/m"); err == nil || !strings.Contains(err.Error(), "helper") {
		t.Errorf("a helper that requires: %v", err)
	}
}

// What the guest prints, with the frame that test2json needs (0x16).
const printed = "\nnettest-vm begins m/a\r\n" +
	"\x16=== RUN   TestGood\n\x16--- PASS: TestGood (1.50s)\n" +
	"\x16=== RUN   TestSkips\n    x_test.go:1: needs something\n\x16--- SKIP: TestSkips (0.00s)\n" +
	"\x16=== RUN   TestDies\npanic: oh\n" +
	"\nnettest-vm begins m/b\n" +
	"\nnettest-vm begins m/a mod\r\n\x16=== RUN   TestLate\n\x16--- PASS: TestLate (1.00s)\n\x16=== NAME  \n\nnettest-vm has finished\n"

func TestResultsAreThoseThatTheGuestPrinted(t *testing.T) {
	t.Parallel()
	results, err := parse(t.Context(), []byte(printed), []Package{
		{"m/a", []string{"TestGood", "TestSkips", "TestDies"}, ""}, {"m/a", []string{"TestLate"}, "mod"}, {"m/b", []string{"TestSilent"}, ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Result{}
	for _, r := range results {
		if r.Test != "" {
			got[r.Test] = r
		}
	}
	for test, want := range map[string]struct{ action, output string }{
		"TestGood": {"pass", ""}, "TestLate": {"pass", ""}, "TestSkips": {"skip", "needs something"}, "TestDies": {"fail", "panic: oh"}, "TestSilent": {"fail", "did not come to an end"},
	} {
		if r := got[test]; r.Action != want.action || !strings.Contains(r.Output, want.output) {
			t.Errorf("%s: %+v, want %+v", test, r, want)
		}
	}
	if s := got["TestGood"].Seconds; s != 1.5 {
		t.Errorf("TestGood took %v s, want 1.5", s)
	}
}
