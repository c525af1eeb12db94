// Package resolvconf reads and writes the form of resolv.conf(5).
package resolvconf

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/berth-net/berth/plugins"
)

// DefaultPath is where the C library looks.
const DefaultPath = "/etc/resolv.conf"

// maxSize bounds what is read of a file that a configuration names.
const maxSize = 64 << 10

// Read reads the nameservers, domain, search list and options of a file.
func Read(path string) (plugins.DNS, error) {
	f, err := os.Open(path)
	if err != nil {
		return plugins.DNS{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return plugins.DNS{}, err
	}
	return Parse(string(raw)), nil
}

// Parse reads a file's text. What it does not know it passes over, as the C
// library does.
func Parse(text string) plugins.DNS {
	var dns plugins.DNS
	for line := range strings.Lines(text) {
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
	return dns
}

// Format is the text of a file.
func Format(dns plugins.DNS) string {
	var b strings.Builder
	for _, n := range dns.Nameservers {
		fmt.Fprintf(&b, "nameserver %s\n", n)
	}
	if search := Suffixes(dns); len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return b.String()
}

// Suffixes is the search list in force: the domain is one of a single entry,
// for where there is no other.
func Suffixes(dns plugins.DNS) []string {
	if len(dns.Search) == 0 && dns.Domain != "" {
		return []string{dns.Domain}
	}
	return dns.Search
}

// Empty tells whether nothing is set.
func Empty(dns plugins.DNS) bool {
	return len(dns.Nameservers) == 0 && dns.Domain == "" && len(dns.Search) == 0 && len(dns.Options) == 0
}

// Over is what above sets, and what it leaves open of below.
func Over(above, below plugins.DNS) plugins.DNS {
	out := below
	if len(above.Nameservers) > 0 {
		out.Nameservers = slices.Clone(above.Nameservers)
	}
	if len(above.Search) > 0 || above.Domain != "" {
		out.Search, out.Domain = slices.Clone(above.Search), above.Domain
	}
	if len(above.Options) > 0 {
		out.Options = slices.Clone(above.Options)
	}
	return out
}
