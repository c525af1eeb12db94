package ipam

import "math/big"

// Count is a number of addresses. An IPv6 range has more of them than fit into
// 64 bits, and than readers of JSON take a number for: there it is a string of
// decimal digits.
type Count struct{ *big.Int }

// MarshalJSON implements json.Marshaler.
func (c Count) MarshalJSON() ([]byte, error) { return []byte(`"` + c.Int.String() + `"`), nil }

// Minus is c less n.
func (c Count) Minus(n int) Count { return Count{new(big.Int).Sub(c.Int, big.NewInt(int64(n)))} }

// Short is the number for people: one that is large and near a power of two as
// that power and the rest, such as 2^64-2.
func (c Count) Short() string {
	power := c.BitLen()
	rest := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(power)), c.Int)
	single := new(big.Int).Lsh(big.NewInt(1), uint(max(power-1, 0)))
	switch {
	case power <= 32:
		return c.Int.String()
	case single.Cmp(c.Int) == 0:
		return "2^" + big.NewInt(int64(power-1)).String()
	case 2*rest.BitLen() <= power:
		return "2^" + big.NewInt(int64(power)).String() + "-" + rest.String()
	}
	return c.Int.String()
}
