package table_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins/table"
)

var links = regexp.MustCompile(`(?m)^(?:LINKS|DROPINS)\s*:=\s*(.+)$`)

// Every name that is installed must be one that somebody answers to.
func TestEveryInstalledNameHasADriver(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range links.FindAllStringSubmatch(string(makefile), -1) {
		names = append(names, strings.Fields(m[1])...)
	}
	if len(names) < 8 {
		t.Fatalf("names in the Makefile: %q", names)
	}
	for _, name := range names {
		if table.Lookup(name, nil) == nil {
			t.Errorf("%s is installed and has no driver", name)
		}
	}
	for _, name := range []string{"", "berth-cni", "portmap"} {
		if table.Lookup(name, nil) != nil {
			t.Errorf("%q has a driver", name)
		}
	}
}
