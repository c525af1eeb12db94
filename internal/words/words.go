// Package words checks the spelling of names without regular expressions,
// which every start of a program would compile.
package words

import "strings"

// Name tells whether s is 1 to most octets of letters, digits, '_', '.' and
// '-', beginning with a letter or a digit: what can be neither a path nor an
// option.
func Name(s string, most int) bool {
	return s != "" && len(s) <= most && alphanumeric(s[0]) && only(s, "_.-")
}

// Host tells whether s is labels joined by dots, each 1 to 63 octets of
// letters, digits and, inside, '-' (RFC 1123) and those of inner.
func Host(s, inner string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || !alphanumeric(label[0]) || !alphanumeric(label[len(label)-1]) || !only(label, "-"+inner) {
			return false
		}
	}
	return true
}

func only(s, also string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && strings.IndexByte(also, s[i]) < 0 {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
