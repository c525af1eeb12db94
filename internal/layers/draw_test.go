package layers

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table into docs/architecture.md")

const (
	document = "../../docs/architecture.md"
	begin    = "<!-- drawn from internal/layers by go test ./internal/layers -update -->\n"
	end      = "<!-- end -->\n"
)

func TestTheDocumentShowsTheTable(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), begin)
	drawn, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has lost its marks %q and %q", document, begin, end)
	}
	if drawn == Draw() {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the table; run: go test ./internal/layers -update", document)
	}
	if err := os.WriteFile(document, []byte(before+begin+Draw()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
