package endpoint

import (
	"strings"

	"github.com/berth-net/berth/netdev"
)

// maxAlias is IFALIASZ of include/uapi/linux/if.h less the terminating zero.
const maxAlias = 255

// Alias is the alias (IFLA_IFALIAS) of the attachment's device on the host.
// By it a device that a crash left without a record is told from others.
func (k Key) Alias() string {
	alias := netdev.AliasPrefix + k.String()
	return alias[:min(len(alias), maxAlias)]
}

// IsAlias tells the alias of an attachment's device from that of a network's,
// which has no slash, and from a stranger's.
func IsAlias(alias string) bool {
	name, ours := strings.CutPrefix(alias, netdev.AliasPrefix)
	return ours && strings.Contains(name, "/")
}
