package words

import (
	"regexp"
	"strings"
	"testing"
)

// What the functions mean, as regular expressions say it.
var (
	name = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)
	host = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?)*$`)
	rfc  = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
)

func FuzzWords(f *testing.F) {
	for _, s := range []string{
		"", "a", "Z9", "-", "a-", "-a", "a_b", "_a", "a.b", "a..b", ".a", "a.", "a/b", "..", "a b", "a\n", "a\x00", "ä", "a.b-c.d",
		strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 128), strings.Repeat("a", 129), "x." + strings.Repeat("b", 64) + ".c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := Name(s, 128), name.MatchString(s); got != want {
			t.Errorf("Name(%q) = %v", s, got)
		}
		if got, want := Host(s, "_"), host.MatchString(s); got != want {
			t.Errorf("Host(%q) with _ = %v", s, got)
		}
		if got, want := Host(s, ""), rfc.MatchString(s); got != want {
			t.Errorf("Host(%q) = %v", s, got)
		}
	})
}
