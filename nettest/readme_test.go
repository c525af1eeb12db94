package nettest_test

import (
	"os"
	"strings"
	"testing"
)

func TestTheREADMEShowsThisExample(t *testing.T) {
	t.Parallel()
	code := between(t, "example_test.go", "// begin README\n", "\n// end README")
	shown := between(t, "README.md", "```go\n", "```\n")
	if code != shown {
		t.Errorf("README.md shows\n%s\nand the example is\n%s", shown, code)
	}
}

func between(t *testing.T, path, begin, end string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), begin)
	text, _, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s: no %q followed by %q", path, begin, end)
	}
	return text
}
