package ipam_test

import (
	"encoding/json"
	"math/big"
	"testing"

	"github.com/berth-net/berth/ipam"
)

func TestCountsAreShownShort(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{
		"0": "0", "252": "252", "4294967295": "4294967295", "4294967296": "2^32", "4294967297": "4294967297",
		"18446744073709551614": "2^64-2", "18446744073709551616": "2^64", "1208925819614629174706175": "2^80-1", "12345678901234567890": "12345678901234567890",
	} {
		n, _ := new(big.Int).SetString(number, 10)
		c := ipam.Count{Int: n}
		if got := c.Short(); got != want {
			t.Errorf("%s: %s, want %s", number, got, want)
		}
		if raw, err := json.Marshal(struct{ C *ipam.Count }{&c}); err != nil || string(raw) != `{"C":"`+number+`"}` {
			t.Errorf("%s: %s, %v", number, raw, err)
		}
	}
	if got := (ipam.Count{Int: big.NewInt(7)}).Minus(3).String(); got != "4" {
		t.Errorf("7 less 3 is %s", got)
	}
}
