package agentflags

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// setFromFile gives flags that were not on the command line the values of a
// file: lines of KEY = VALUE, KEY being a flag without its dashes; empty lines
// and those that begin with # do not count. It returns where each key stands,
// as FILE:LINE. The error lists everything that is wrong.
func setFromFile(flags *pflag.FlagSet, path string) (lines map[string]string, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	f := &configFile{flags: flags, lines: map[string]string{}, typed: map[string]bool{}}
	flags.Visit(func(flag *pflag.Flag) { f.typed[flag.Name] = true })
	var errs []error
	scanner := bufio.NewScanner(bytes.NewReader(raw))
	for n := 1; scanner.Scan(); n++ {
		where := fmt.Sprintf("%s:%d", path, n)
		if err := f.line(where, strings.TrimSpace(scanner.Text())); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	return f.lines, errors.Join(append(errs, scanner.Err())...)
}

type configFile struct {
	flags *pflag.FlagSet
	lines map[string]string
	typed map[string]bool // on the command line: they win
}

func (f *configFile) line(where, text string) error {
	if text == "" || strings.HasPrefix(text, "#") {
		return nil
	}
	key, value, ok := strings.Cut(text, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || key == "" {
		return fmt.Errorf("%q: write it as KEY = VALUE, or begin a comment with #", text)
	}
	flag := f.flags.Lookup(key)
	if flag == nil || key == "config" || key == "help" {
		return fmt.Errorf("%s: there is no such key; there are %s", key, strings.Join(f.keys(), ", "))
	}
	if other := f.lines[key]; other != "" {
		return fmt.Errorf("%s: it is at %s too; leave one", key, other)
	}
	if f.typed[key] {
		return nil
	}
	f.lines[key] = where
	if err := flag.Value.Set(value); err != nil {
		return fmt.Errorf("%s: %q: %w", key, value, err)
	}
	return nil
}

func (f *configFile) keys() (names []string) {
	f.flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "config" && flag.Name != "help" {
			names = append(names, flag.Name)
		}
	})
	return names
}
