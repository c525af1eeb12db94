package ipam

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/berth-net/berth/plugins"
)

// maxResolvConf bounds what is read of a file that the configuration names.
const maxResolvConf = 64 << 10

// readResolvConf reads the nameservers, domain, search list and options of a
// file in the form of resolv.conf(5).
func readResolvConf(path string) (plugins.DNS, error) {
	var dns plugins.DNS
	f, err := os.Open(path)
	if err != nil {
		return dns, fmt.Errorf("resolvConf: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxResolvConf))
	if err != nil {
		return dns, fmt.Errorf("resolvConf: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.ContainsAny(fields[0][:1], "#;") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			dns.Nameservers = append(dns.Nameservers, fields[1])
		case "domain":
			dns.Domain = fields[1]
		case "search":
			dns.Search = append(dns.Search, fields[1:]...)
		case "options":
			dns.Options = append(dns.Options, fields[1:]...)
		}
	}
	return dns, nil
}
