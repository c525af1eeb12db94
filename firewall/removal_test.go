package firewall

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel puts several messages into one datagram.
func TestARemovalIsFoundWhereverItStands(t *testing.T) {
	t.Parallel()
	type message struct {
		typ   uint16
		table string
	}
	for name, tt := range map[string]struct {
		messages []message
		want     bool
	}{
		"nothing":               {},
		"something new":         {[]message{{unix.NFT_MSG_NEWSETELEM, sealedTable}}, false},
		"of another's table":    {[]message{{unix.NFT_MSG_DELTABLE, "filter"}}, false},
		"behind something else": {[]message{{unix.NFT_MSG_DELRULE, "filter"}, {unix.NFT_MSG_NEWRULE, anycastTable}, {unix.NFT_MSG_DELSET, anycastTable}}, true},
	} {
		var data []byte
		for _, m := range tt.messages {
			data = append(data, news(m.typ, m.table)...)
		}
		if got := removes(data); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
		if len(data) > 0 && !removes(data[:len(data)-1]) {
			t.Errorf("%s, cut short: who knows what it was", name)
		}
	}
}

// news is a message about an object of a table: struct nlmsghdr, struct
// nfgenmsg, and the table's name as an attribute.
func news(typ uint16, table string) []byte {
	const headers, attribute = unix.NLMSG_HDRLEN + 4, 4
	b := make([]byte, (headers+attribute+len(table)+1+3)&^3)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.NFNL_SUBSYS_NFTABLES<<8|typ)
	binary.NativeEndian.PutUint16(b[headers:], uint16(attribute+len(table)+1))
	binary.NativeEndian.PutUint16(b[headers+2:], unix.NFTA_TABLE_NAME)
	copy(b[headers+attribute:], table)
	return b
}
