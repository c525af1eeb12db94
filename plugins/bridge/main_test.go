package bridge_test

import (
	"flag"
	"os"
	"testing"
)

// The tests wait more than they compute, so more of them run at once than
// there are processors. Not many more: all namespaces of a machine share one
// table of IPv6 neighbours, of 1,024 entries by default.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil {
		f.Value.Set("8")
	}
	os.Exit(m.Run())
}
