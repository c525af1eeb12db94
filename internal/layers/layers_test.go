package layers

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/berth-net/berth"

type pkg struct {
	ImportPath   string
	Imports      []string
	Deps         []string
	GoFiles      []string
	XTestImports []string
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		from, ok := folderOf(p.ImportPath)
		if !ok || in(Apart, from) {
			continue
		}
		row := rowOf(from)
		if row == nil {
			t.Errorf("%s is in no row of layers.Table: give its folder a place", from)
			continue
		}
		for _, imp := range p.Imports {
			if to, ok := folderOf(imp); ok {
				checkImport(t, from, row, to)
			}
		}
	}
}

func checkImport(t *testing.T, from string, row *Layer, to string) {
	t.Helper()
	if in(Shared, to) {
		return
	}
	if in(Apart, to) {
		t.Errorf("%s imports %s, which is for tests and tools only", from, to)
		return
	}
	target := rowOf(to)
	switch {
	case target == nil: // reported for the package itself
	case target.Rank < row.Rank:
	case target.Rank == row.Rank && (row.Peers != "" || folderIn(row, from) == folderIn(row, to)):
	default:
		t.Errorf("%s (rank %d) imports %s (rank %d): imports point down only", from, row.Rank, to, target.Rank)
	}
}

func TestForbiddenImports(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		from, ok := folderOf(p.ImportPath)
		if !ok {
			continue
		}
		for _, f := range Forbidden {
			if !below(from, f.Folder) {
				continue
			}
			for _, dep := range p.Deps {
				if below(dep, f.Import) {
					t.Errorf("%s depends on %s: %s", from, dep, f.Why)
				}
			}
		}
	}
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps,GoFiles", "./...")
	cmd.Dir = "../.."
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil || len(all) == 0 {
		t.Fatalf("go list: %d packages, %v", len(all), err)
	}
	return all
}

// folderOf is an import path relative to the module.
func folderOf(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }

func below(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func in(folders []string, path string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return below(path, f) })
}

func folderIn(row *Layer, path string) string {
	best := ""
	for _, f := range row.Folders {
		if below(path, f) && len(f) > len(best) {
			best = f
		}
	}
	return best
}

func rowOf(path string) *Layer {
	var row *Layer
	best := ""
	for i := range Table {
		if f := folderIn(&Table[i], path); len(f) > len(best) {
			row, best = &Table[i], f
		}
	}
	return row
}
