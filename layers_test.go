package main

import (
	"fmt"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A layer is a group of files, declared in testdata/layers.txt.
type layer struct {
	name  string
	globs []string
}

func (l layer) has(file string) bool {
	return slices.ContainsFunc(l.globs, func(glob string) bool {
		ok, err := filepath.Match(glob, file)
		return ok && err == nil
	})
}

// parseLayers reads lines of the form "name: glob glob", the top layer first.
func parseLayers(text string) (layers []layer) {
	for line := range strings.Lines(text) {
		if name, globs, ok := strings.Cut(line, ":"); ok && line[0] != '#' {
			layers = append(layers, layer{name, strings.Fields(globs)})
		}
	}
	return layers
}

// wrongArrows returns the names of a layer above their own, or of a peer, that the files of a package use. It checks
// package-level names, not fields and methods. sources has the text of each file by its name.
func wrongArrows(t *testing.T, layers []layer, sources map[string]string) (wrong []string) {
	t.Helper()
	layerOf := make(map[string]int)      // by file
	declaredIn := make(map[string][]int) // layers by declared name; a name can have one file per system
	parsed := make(map[string]*ast.File)
	for name, source := range sources {
		i := slices.IndexFunc(layers, func(l layer) bool { return l.has(name) })
		if i < 0 {
			wrong = append(wrong, name+" is in no layer")
			continue
		}
		file, err := goparser.ParseFile(token.NewFileSet(), name, source, 0)
		must(t, err)
		layerOf[name], parsed[name] = i, file
		for declared := range file.Scope.Objects {
			declaredIn[declared] = append(declaredIn[declared], i)
		}
	}
	for name, file := range parsed {
		current := layerOf[name]
		for _, id := range file.Unresolved {
			for _, i := range declaredIn[id.Name] {
				if i < current || i != current && peers(layers[i], layers[current]) {
					wrong = append(wrong, fmt.Sprintf("%s (%s) uses %s (%s)", name, layers[current].name, id.Name, layers[i].name))
				}
			}
		}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

// peers reports whether two layers have names of several words with the same first word.
func peers(a, b layer) bool {
	first, _, several := strings.Cut(a.name, " ")
	return several && strings.HasPrefix(b.name, first+" ")
}

// TestLayers checks the files of this package against testdata/layers.txt.
func TestLayers(t *testing.T) {
	text := contentOf(t, filepath.Join("testdata", "layers.txt"))
	names, err := filepath.Glob("*.go")
	must(t, err)
	sources := make(map[string]string)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		sources[name] = string(contentOf(t, name))
	}
	if len(sources) < 50 {
		t.Fatalf("only %d files found", len(sources))
	}
	for _, wrong := range wrongArrows(t, parseLayers(string(text)), sources) {
		t.Error(wrong)
	}
}

// TestLayersArrows adds arrows on purpose.
func TestLayersArrows(t *testing.T) {
	t.Parallel()
	layers := parseLayers("# a comment: not a layer\ntop: main.go\nproduct one: one*.go\nproduct two: two.go\nground: text.go\n")
	const text = "package main\n\nfunc escape() {}\n\ntype list struct{ top int }\n"
	for _, tt := range []struct {
		name, file, source string
		want               []string
	}{
		{"down", "one.go", "func f() { escape() }", nil},
		{"within", "one_b.go", "func f() { one() }", nil},
		{"up", "text_b.go", "func f() { one() }", []string{"text_b.go is in no layer"}},
		{"up by a function", "two.go", "func f() { start() }", []string{"two.go (product two) uses start (top)"}},
		{"up by a type", "two.go", "type f struct{ c command }", []string{"two.go (product two) uses command (top)"}},
		{"up by a constant", "two.go", "var f = [limit]int{}", []string{"two.go (product two) uses limit (top)"}},
		{"to a peer", "two.go", "func f() { one() }", []string{"two.go (product two) uses one (product one)"}},
		{"to the other peer", "one_b.go", "func f() { two() }", []string{"one_b.go (product one) uses two (product two)"}},
		{"a local name hides it", "one_b.go", "func f() { start := 1; _ = start }", nil},
		{"a field has the name", "one_b.go", "type t struct{ start int }\n\nfunc f(x t) int { return x.start }", nil},
	} {
		sources := map[string]string{
			"main.go": "package main\n\nconst limit = 1\n\ntype command struct{}\n\nfunc start() { one() }\n",
			"one.go":  "package main\n\nfunc one() {}\n", "two.go": "package main\n\nfunc two() {}\n", "text.go": text,
		}
		if tt.name == "down" {
			tt.source += "\n\nfunc one() {}"
		}
		if tt.file == "two.go" {
			tt.source += "\n\nfunc two() {}"
		}
		sources[tt.file] = "package main\n\n" + tt.source + "\n"
		if got := wrongArrows(t, layers, sources); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
