package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const (
	root     = "../.."
	maxLines = 600
)

// source is one Go file of the repository, parsed.
type source struct {
	path string // relative to the repository
	file *ast.File
	set  *token.FileSet
}

func (s source) pos(p token.Pos) string {
	at := s.set.Position(p)
	return s.path + ":" + itoa(at.Line)
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// in tells whether the file lies in one of the folders.
func (s source) in(folders ...string) bool {
	for _, f := range folders {
		if strings.HasPrefix(s.path, f+"/") {
			return true
		}
	}
	return false
}

// commentedAt tells whether the line has a comment.
func (s source) commentedAt(p token.Pos) bool {
	line := s.set.Position(p).Line
	for _, group := range s.file.Comments {
		if s.set.Position(group.Pos()).Line == line {
			return true
		}
	}
	return false
}

var sources = sync.OnceValues(func() ([]source, error) {
	var all []source
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		all = append(all, source{rel, file, set})
		return err
	})
	return all, err
})

func eachSource(t *testing.T, check func(*testing.T, source)) {
	t.Helper()
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no Go file was found")
	}
	for _, s := range all {
		check(t, s)
	}
}

// Each package is introduced once, in one of its files.
func TestEveryPackageHasOneDoc(t *testing.T) {
	t.Parallel()
	docs := map[string][]string{}
	eachSource(t, func(t *testing.T, s source) {
		dir := filepath.Dir(s.path)
		if s.isTest() {
			return
		}
		docs[dir] = append(docs[dir], "")
		if s.file.Doc == nil {
			return
		}
		docs[dir] = append(docs[dir], s.path)
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(s.file.Doc.Text(), want) {
			t.Errorf("%s: the package doc does not begin with %q", s.path, want)
		}
	})
	for dir, files := range docs {
		files = nonEmpty(files)
		if len(files) != 1 {
			t.Errorf("%s: want one package doc, have %d %q", dir, len(files), files)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	eachSource(t, func(t *testing.T, s source) {
		if n := s.set.File(s.file.Pos()).LineCount(); n >= maxLines && !ast.IsGenerated(s.file) {
			t.Errorf("%s has %d lines; a file has one subject and stays below %d", s.path, n, maxLines)
		}
	})
}

// dumps are the calls that list every object of the host. An interrupted dump
// (NLM_F_DUMP_INTR) must be repeated, which netdev does once for all.
var dumps = regexp.MustCompile(`^(Link|Addr|Route|Neigh|Neigh(Proxy)?|Rule|Qdisc|Class|Filter|BridgeVlan|Chain|ConntrackTable|XfrmState|XfrmPolicy)List(Filtered(Iter)?|Execute|Iter)?$`)

const netlinkModule = "github.com/vishvananda/netlink"

func TestRawDumpsStayInNetdev(t *testing.T) {
	t.Parallel()
	eachSource(t, func(t *testing.T, s source) {
		if s.in("netdev") || s.isTest() || !imports(s.file, netlinkModule) {
			return
		}
		eachCall(s.file, func(call *ast.CallExpr, sel *ast.SelectorExpr) {
			if dumps.MatchString(sel.Sel.Name) {
				t.Errorf("%s: %s: dump through netdev, which repeats an interrupted one", s.pos(call.Pos()), sel.Sel.Name)
			}
		})
	})
}

// A test that sleeps is slow on a fast machine and fails on a slow one. Where
// the time itself is what is tested, a comment on the line says so.
func TestTestsDoNotSleep(t *testing.T) {
	t.Parallel()
	eachSource(t, func(t *testing.T, s source) {
		if !s.isTest() || !imports(s.file, "time") {
			return
		}
		eachCall(s.file, func(call *ast.CallExpr, sel *ast.SelectorExpr) {
			x, ok := sel.X.(*ast.Ident)
			if ok && x.Name == "time" && sel.Sel.Name == "Sleep" && !s.commentedAt(call.Pos()) {
				t.Errorf("%s: time.Sleep in a test; wait for the condition (nettest.Eventually)", s.pos(call.Pos()))
			}
		})
	})
}

// tracker matches a reference that only we can resolve: the number of an
// issue with no project before it.
var tracker = regexp.MustCompile(`(?i)\b(issue|ticket|task)s? #?\d+\b|(^|[\s(])#\d+\b`)

func TestCommentsNameNoTracker(t *testing.T) {
	t.Parallel()
	eachSource(t, func(t *testing.T, s source) {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if found := tracker.FindString(c.Text); found != "" {
					t.Errorf("%s: comment names %q: say why, and cite what the reader can open", s.pos(c.Pos()), strings.TrimSpace(found))
				}
			}
		}
	})
}

func TestTrackerMatches(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"// see issue 3":            true,
		"// as #12 asks":            true,
		"// moby#41872 leaks":       false,
		"// RFC 7348, section 4":    false,
		"// moby/moby#41872 leaks":  false,
		"// CVE-2020-10749 section": false,
	} {
		if got := tracker.MatchString(text); got != want {
			t.Errorf("tracker matches %q: %v, want %v", text, got, want)
		}
	}
}
