package netdev

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Rule is a rule of policy routing (ip-rule(8)): packets of IPv6, or of IPv4,
// with the mark that come from IIF ("lo": from this host) are routed by the
// table.
type Rule struct {
	IPv4     bool
	IIF      string
	Mark     uint32
	Table    int
	Priority int // the lowest is asked first
}

// EnsureRule adds a rule. One that is there is success.
func (b *Batch) EnsureRule(r Rule) {
	b.rule(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, "add", r)
	b.tolerate(unix.EEXIST)
}

// DeleteRule removes a rule. One that is not there is success.
func (b *Batch) DeleteRule(r Rule) {
	b.rule(unix.RTM_DELRULE, 0, "delete", r)
	b.tolerate(unix.ENOENT)
}

// rule is struct fib_rule_hdr (include/uapi/linux/fib_rules.h) and its
// attributes.
func (b *Batch) rule(typ, flags uint16, verb string, r Rule) {
	b.Message(typ, flags, fmt.Sprintf("%s rule for packets with the mark %#x", verb, r.Mark))
	family := uint8(unix.AF_INET6)
	if r.IPv4 {
		family = unix.AF_INET
	}
	b.U8(family)
	b.Zeros(3)
	b.U8(unix.RT_TABLE_UNSPEC) // in FRA_TABLE, which has room for all
	b.Zeros(2)
	b.U8(unix.FR_ACT_TO_TBL)
	b.U32(0)
	b.Uint32(unix.FRA_TABLE, uint32(r.Table))
	b.Uint32(unix.FRA_PRIORITY, uint32(r.Priority))
	b.Uint32(unix.FRA_FWMARK, r.Mark)
	b.Uint32(unix.FRA_FWMASK, 0xffffffff)
	b.String(unix.FRA_IIFNAME, r.IIF)
}
