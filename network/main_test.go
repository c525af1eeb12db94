package network_test

import (
	"testing"

	"github.com/berth-net/berth/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }
