package vm

import (
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
}

// name is what "go test -c" calls the binary.
func (p Package) name() string { return path.Base(p.Path) }

// Needing finds the tests below root, the folder of module, that call
// nettest.RequireKernel.
func Needing(root, module string) ([]Package, error) {
	found := map[string][]string{}
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
		found[path.Join(module, filepath.ToSlash(dir))] = append(found[path.Join(module, filepath.ToSlash(dir))], names...)
		return err
	})
	var packages []Package
	for p, names := range found {
		packages = append(packages, Package{p, names})
	}
	slices.SortFunc(packages, func(a, b Package) int { return strings.Compare(a.Path, b.Path) })
	return packages, err
}

// testsIn lists the file's test functions that call nettest.RequireKernel. A
// call from another function is an error: it would not be known which tests
// come there.
func testsIn(file string) (names []string, err error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return nil, err
	}
	for _, decl := range parsed.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || !requires(f) {
			continue
		}
		if f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
			return nil, fmt.Errorf("%s: %s calls nettest.RequireKernel, which a test has to do itself", file, f.Name.Name)
		}
		names = append(names, f.Name.Name)
	}
	return names, nil
}

func requires(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "RequireKernel" {
			x, isName := s.X.(*ast.Ident)
			found = found || isName && x.Name == "nettest"
		}
		return true
	})
	return found
}
