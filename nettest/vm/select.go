package vm

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Package is a Go package with the tests of it that are to run.
type Package struct {
	Path  string // import path
	Names []string

	// After is a module that changes every network namespace as soon as it is
	// there. It is loaded before these tests, and these are the last.
	After string
}

// name is what "go test -c" calls the binary.
func (p Package) name() string { return path.Base(p.Path) }

// section is what the guest prints before the tests' output.
func (p Package) section() string { return strings.TrimSpace(p.Path + " " + p.After) }

// late are the modules that a feature of package nettest stands for and that
// other tests are to do without.
var late = map[string]string{"BridgeNetfilter": "br_netfilter"}

// Needing finds the tests below root, the folder of module, that call
// nettest.RequireKernel.
func Needing(root, module string) ([]Package, error) {
	type part struct{ after, path string } // in the order of the guest's
	found := map[part][]string{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != root && (d.Name() == "bin" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		names, err := testsIn(file)
		if err != nil || len(names) == 0 {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		for after, names := range names {
			p := part{after, path.Join(module, filepath.ToSlash(dir))}
			found[p] = append(found[p], names...)
		}
		return err
	})
	var packages []Package
	for p, names := range found {
		packages = append(packages, Package{p.path, names, p.after})
	}
	slices.SortFunc(packages, func(a, b Package) int {
		return cmp.Or(strings.Compare(a.After, b.After), strings.Compare(a.Path, b.Path))
	})
	return packages, err
}

// testsIn lists the file's test functions that call nettest.RequireKernel, by
// the late module that they need. A call from another function is an error: it
// would not be known which tests come there.
func testsIn(file string) (names map[string][]string, err error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return nil, err
	}
	names = map[string][]string{}
	for _, decl := range parsed.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || !mentions(f, "RequireKernel") {
			continue
		}
		if f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
			return nil, fmt.Errorf("%s: %s calls nettest.RequireKernel, which a test has to do itself", file, f.Name.Name)
		}
		after := ""
		for feature, module := range late {
			if mentions(f, feature) {
				after = module
			}
		}
		names[after] = append(names[after], f.Name.Name)
	}
	return names, nil
}

// mentions tells whether a function names something of package nettest.
func mentions(f *ast.FuncDecl, name string) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == name {
			x, isName := s.X.(*ast.Ident)
			found = found || isName && x.Name == "nettest"
		}
		return true
	})
	return found
}
