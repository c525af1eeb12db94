package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md")

const cliDocument = "../../docs/cli.md"

// TestTheDocumentOfTheCommandLineIsThatOfTheCommands keeps docs/cli.md what
// the commands' own help says; go test ./cmd/berth -update rewrites it.
func TestTheDocumentOfTheCommandLineIsThatOfTheCommands(t *testing.T) {
	t.Parallel()
	got := cliReference()
	if *update {
		if err := os.WriteFile(cliDocument, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(cliDocument)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/cli.md is not what the commands say; run: go test ./cmd/berth -update")
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	walk(documented(), func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its one line is %q", c.CommandPath(), c.Short)
		}
		if c.HasParent() && !c.Parent().HasParent() && c.GroupID == "" {
			t.Errorf("%s: it is in no group of the help", c.CommandPath())
		}
		if !c.HasSubCommands() && c.Args == nil {
			t.Errorf("%s: it does not look at its arguments", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s: no help", c.CommandPath(), f.Name)
			}
		})
	})
}

func cliReference() []byte {
	var b bytes.Buffer
	b.WriteString("# The command line\n\nGenerated from the commands themselves: `go test ./cmd/berth -update`.\n")
	walk(documented(), func(c *cobra.Command) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```text\n%s\n```\n", c.CommandPath(), oneOf(c.Long, c.Short), c.UseLine())
		if usage := c.NonInheritedFlags().FlagUsages(); strings.TrimSpace(usage) != "" {
			fmt.Fprintf(&b, "\n```text\n%s```\n", usage)
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", unindent(c.Example))
		}
	})
	return b.Bytes()
}

// documented is the tree without what cobra adds to it.
func documented() *cobra.Command {
	root := rootCommand()
	root.InitDefaultHelpFlag()
	return root
}

func walk(c *cobra.Command, do func(*cobra.Command)) {
	if c.Hidden {
		return
	}
	c.DisableFlagsInUseLine = true
	c.InitDefaultHelpFlag()
	do(c)
	for _, sub := range c.Commands() {
		walk(sub, do)
	}
}

func oneOf(long, short string) string {
	if long == "" {
		return short + "."
	}
	// Indented lists and words such as KEY=VALUE stay as they are typed.
	if strings.Contains(long, "\n  ") {
		return "```text\n" + long + "\n```"
	}
	return long
}

func unindent(example string) string {
	return strings.TrimPrefix(strings.ReplaceAll(example, "\n  ", "\n"), "  ")
}
