package layers

import (
	"fmt"
	"strings"
)

// Draw is the table as Markdown, the highest row first.
func Draw() string {
	var b strings.Builder
	b.WriteString("| rank | folders | what it is | imports within the rank |\n|---|---|---|---|\n")
	for _, row := range Table {
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", row.Rank, code(row.Folders), row.What, orNone(row.Peers))
	}
	b.WriteString("\nApart from the table, for tests and tools only, imported by nothing in it: " + code(Apart) + ".\n")
	b.WriteString("\n| below | may not depend on | because |\n|---|---|---|\n")
	for _, f := range Forbidden {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", f.Folder, f.Import, f.Why)
	}
	return b.String()
}

func code(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
