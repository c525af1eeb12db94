package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// want tells what the scene expects: columns are those of parties with a
// network, then the published port.
func (a *actor) want(name string) bool {
	letters := strings.Fields(a.expect)
	columns := []string{}
	for _, p := range parties {
		if p.kind != "" {
			columns = append(columns, p.name)
		}
	}
	columns = append(columns, "published")
	return letters[slices.Index(columns, name)] == "+"
}

// got tells whether the target was reached. Only its own answer counts: at a
// loopback address, everybody's own server answers.
func (a *actor) got(t target) bool {
	server := t.name
	if t.name == "published" {
		server = "front1"
	}
	return a.reached[t.name] == server
}

func (s *stage) cells() int { return len(s.actors) * len(s.targets) }

func (s *stage) wrong() []string {
	var lines []string
	for _, a := range s.actors {
		for _, t := range s.targets {
			if got, want := a.got(t), a.want(t.name); got != want {
				lines = append(lines, fmt.Sprintf("%s to %s (%s): %s, expected %s", a.name, t.name, t.url, word(got), word(want)))
			}
		}
	}
	return lines
}

func word(reached bool) string {
	if reached {
		return "reached"
	}
	return "not reached"
}

func mark(reached bool) string {
	if reached {
		return "+"
	}
	return "."
}

// print shows the measured matrix beside the expected one; a column has the
// number of its row.
func (s *stage) print(w io.Writer) {
	var numbers []string
	for i := range s.targets {
		numbers = append(numbers, fmt.Sprintf("%2d", i+1))
	}
	width := len(strings.Join(numbers, " "))
	fmt.Fprintf(w, "\nWho (row) reaches whom (column) by HTTP: + reached, . not\n\n")
	fmt.Fprintf(w, "%-11s %-5s%-9s %-*s   %-*s   addresses\n", "", "host", "network", width, "measured", width, "expected")
	fmt.Fprintf(w, "%-26s %s   %s\n", "", strings.Join(numbers, " "), strings.Join(numbers, " "))
	for i, a := range s.actors {
		var got, want []string
		for _, t := range s.targets {
			got = append(got, " "+mark(a.got(t)))
			want = append(want, " "+mark(a.want(t.name)))
		}
		number := ""
		if a.kind != "" {
			number = fmt.Sprint(i + 1)
		}
		line := fmt.Sprintf("%2s %-8s %-5s%-9s %s   %s   %s", number, a.name, a.host, a.kind,
			strings.Join(got, " "), strings.Join(want, " "), joinAddresses(a))
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	if last := len(s.targets); last > 0 && s.targets[last-1].name == "published" {
		fmt.Fprintf(w, "%2d %s, which host one publishes for front1\n", last, published)
	}
}

func joinAddresses(a *actor) string {
	var texts []string
	for _, p := range a.addresses {
		texts = append(texts, p.Addr().String())
	}
	return strings.Join(texts, " ")
}
