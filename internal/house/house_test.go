// Package house keeps the picture in docs/ARCHITECTURE.md true: who may import whom, and what no file may hold.
package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sparemx/sparemx/"

// arrows lists for each package what of ours it may import. internal/durable is free for all.
var arrows = map[string][]string{
	"queue":             {},
	"probes":            {"internal/smtp"},
	"alert":             {},
	"logparse":          {"queue"},
	"postfix":           {"queue"},
	"outage":            {"queue", "probes", "alert"},
	"collector":         {"queue", "probes", "alert", "logparse", "outage"},
	"status":            {"queue", "probes", "alert", "logparse", "outage"},
	"config":            {"probes", "alert", "postfix", "queue"},
	"internal/durable":  {},
	"internal/smtp":     {},
	"internal/smtptest": {"internal/smtp"},
	"internal/house":    {},
	"queue/queuetest":   {"queue"},
	"alert/alerttest":   {"alert"},
	"cmd/sparemx":       nil, // main is where packages meet
}

// only lists who alone may import a package from outside.
var only = map[string][]string{
	"os/exec":                                {"postfix", "logparse"},
	"github.com/slack-go/slack":              {"alert"},
	"github.com/wneessen/go-mail":            {"alert"},
	"github.com/miekg/dns":                   {"probes", "internal/smtptest"},
	"github.com/emersion/go-smtp":            {"relay", "internal/smtptest"},
	"github.com/prometheus/client_golang":    {"collector"},
	"github.com/prometheus/exporter-toolkit": {"status", "cmd/sparemx"},
	"testing":                                {"queue/queuetest", "alert/alerttest", "internal/smtptest"},
}

type file struct {
	dir, path string
	ast       *ast.File
}

// sources parses every Go file that is part of the program; tests and the test machinery are left out.
func sources(t *testing.T) []file {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var files []file
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || rel == "test" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, file{filepath.Dir(rel), rel, f})
		return nil
	})
	if err != nil || len(files) < 20 {
		t.Fatalf("%d source files found, %v", len(files), err)
	}
	return files
}

func TestArrowsPointOneWay(t *testing.T) {
	for _, f := range sources(t) {
		allowed, known := arrows[f.dir]
		if !known {
			t.Errorf("%s: the package %s has no place in the picture: add it to arrows and to docs/ARCHITECTURE.md", f.path, f.dir)
			continue
		}
		for _, spec := range f.ast.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if ours, ok := strings.CutPrefix(path, module); ok {
				if allowed != nil && ours != "internal/durable" && !slices.Contains(allowed, ours) {
					t.Errorf("%s imports %s: %s may import %v", f.path, ours, f.dir, allowed)
				}
				continue
			}
			for name, who := range only {
				if (path == name || strings.HasPrefix(path, name+"/")) && !slices.Contains(who, f.dir) {
					t.Errorf("%s imports %s: only %v may", f.path, path, who)
				}
			}
		}
	}
}

func TestNothingHappensBeforeMain(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init: let main call it", f.path)
			}
		}
	}
}

// Each module we depend on has its reason in docs/HACKING.md.
func TestEachDependencyHasItsReason(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/HACKING.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(line)
		if len(f) != 2 || !strings.Contains(f[0], "/") || f[0] == "module" {
			continue
		}
		found++
		// In the table the host of the module is left out where it is the usual one, and "x/sys" may stand beside its sister.
		path := strings.TrimPrefix(f[0], "github.com/")
		parts := strings.Split(path, "/")
		if last := parts[len(parts)-1]; !strings.Contains(string(doc), path) && !strings.Contains(string(doc), last) {
			t.Errorf("docs/HACKING.md does not say why %s is here", f[0])
		}
	}
	if found < 10 {
		t.Errorf("%d direct dependencies found in go.mod", found)
	}
}
