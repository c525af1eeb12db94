package bridge_test

import (
	"flag"
	"os"
	"testing"
)

// The tests wait more than they compute, so more of them run at once than
// there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil {
		f.Value.Set("12")
	}
	os.Exit(m.Run())
}
