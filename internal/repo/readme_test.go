package repo

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`")

// The tables of the drivers' READMEs name the test of each key.
func TestREADMEsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	exists := map[string]bool{}
	eachSource(t, func(_ *testing.T, s source) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.isTest() && f.Recv == nil {
				exists[f.Name.Name] = true
			}
		}
	})
	readmes, err := filepath.Glob(filepath.Join(root, "plugins", "*", "README.md"))
	if err != nil || len(readmes) == 0 {
		t.Fatalf("%d READMEs of drivers, %v", len(readmes), err)
	}
	for _, path := range readmes {
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
