package machine

import (
	"flag"
	"os"
	"slices"
	"testing"
)

var (
	record  = flag.String("record", "", "write the snapshot to this `file`")
	compare = flag.String("compare", "", "fail where the machine differs from the snapshot in this `file`")
)

func TestMachineIsUnchanged(t *testing.T) {
	now, err := Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case *record != "":
		if err := os.WriteFile(*record, []byte(now), 0o600); err != nil {
			t.Fatal(err)
		}
	case *compare != "":
		before, err := os.ReadFile(*compare)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range Diff(string(before), now) {
			t.Error(line)
		}
	default:
		t.Skip("make test runs this before and after all others, with -record and -compare")
	}
}

func TestDiffNamesWhatCameAndWent(t *testing.T) {
	t.Parallel()
	got := Diff("link eth0\nmount /a\nmount /a\n", "link eth0\nlink leak0\nmount /a\n")
	want := []string{"+ link leak0", "- mount /a"}
	if !slices.Equal(got, want) {
		t.Errorf("Diff = %q, want %q", got, want)
	}
}
