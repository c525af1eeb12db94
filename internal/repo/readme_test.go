package repo

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`")

// testPath is a file or folder that a table names as the test: in code, or as
// a link from the README's folder.
var testPath = regexp.MustCompile("`(test/[\\w./-]+)`|\\]\\(([\\w./-]+)\\)")

// readmes are those whose tables name the test of each key.
func readmes(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "plugins", "*", "README.md"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d READMEs of drivers, %v", len(paths), err)
	}
	return append(paths, filepath.Join(root, "ipam", "README.md"))
}

// testsOf are the names of all tests of the repository.
func testsOf(t *testing.T) map[string]bool {
	t.Helper()
	exists := map[string]bool{}
	eachSource(t, func(_ *testing.T, s source) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.isTest() && f.Recv == nil {
				exists[f.Name.Name] = true
			}
		}
	})
	return exists
}

func TestREADMEsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	exists := testsOf(t)
	for _, path := range readmes(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testName.FindAllSubmatch(text, -1) {
			if !exists[string(m[1])] {
				t.Errorf("%s names %s, which does not exist", path, m[1])
			}
		}
	}
}

// A row whose last column is headed "test" says by what it is shown.
func TestREADMEsNameATestInEachRow(t *testing.T) {
	t.Parallel()
	for _, path := range readmes(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rowsWithTests(string(text)) {
			if !namesATest(filepath.Dir(path), row[len(row)-1]) {
				t.Errorf("%s: the row of %s names no test, but %q", path, row[0], row[len(row)-1])
			}
		}
	}
}

// rowsWithTests are the cells of the tables whose last column is the test.
func rowsWithTests(text string) (rows [][]string) {
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		last := cells[len(cells)-1]
		switch {
		case strings.EqualFold(last, "test"):
			inside = true
		case inside && !strings.HasPrefix(line, "|---"):
			rows = append(rows, cells)
		}
	}
	return rows
}

func namesATest(dir, cell string) bool {
	if testName.MatchString(cell) {
		return true
	}
	return slices.ContainsFunc(testPath.FindAllStringSubmatch(cell, -1), func(m []string) bool {
		path := filepath.Join(root, m[1])
		if m[2] != "" {
			path = filepath.Join(dir, m[2])
		}
		_, err := os.Stat(path)
		return err == nil
	})
}
