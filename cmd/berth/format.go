package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
	"text/tabwriter"
	"text/template"
)

const formatUsage = `"json", a Go template such as "{{.Name}}", or "table TEMPLATE"`

// templateFuncs are those that Docker's --format knows.
var templateFuncs = template.FuncMap{
	"join":  func(sep string, list []string) string { return strings.Join(list, sep) },
	"json":  func(v any) (string, error) { raw, err := marshal(v, ""); return string(raw), err },
	"lower": strings.ToLower,
	"split": strings.Split,
	"title": func(s string) string { return strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):] },
	"upper": strings.ToUpper,
}

// columns are the headers of a table by the fields that they are above.
type columns map[string]string

// printRows prints each row by the format; without one by the table template.
func printRows[T any](w io.Writer, format, table string, headers columns, rows []T) error {
	if format == "" || format == "table" {
		format = "table " + table
	}
	if format == "json" {
		for _, row := range rows {
			raw, err := marshal(row, "")
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "%s\n", raw)
		}
		return nil
	}
	text, isTable := strings.CutPrefix(format, "table ")
	t, err := parseTemplate(text)
	if err != nil {
		return err
	}
	if isTable {
		tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		defer tw.Flush()
		w = tw
		if err := execute(w, t, maps.Clone(headers)); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if err := execute(w, t, row); err != nil {
			return err
		}
	}
	return nil
}

func parseTemplate(text string) (*template.Template, error) {
	// What a shell keeps of "\t" in single quotes.
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	t, err := template.New("format").Funcs(templateFuncs).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("--format: %w", err)
	}
	return t, nil
}

// execute prints all of a line or nothing.
func execute(w io.Writer, t *template.Template, data any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

func marshal(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// several counts things in words.
func several(n int, thing string) string {
	switch n {
	case 0:
		return "no " + thing + "s"
	case 1:
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
