package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// newVersion sets up the command version.
func newVersion(*optionSet) action {
	return func(context.Context, *invocation) (output, error) { return thisBuild().page(), nil }
}

// A build is what the binary knows about how it was built.
type build struct {
	Version string `json:"version"` // a tag, or a tag and the commits since
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"` // of the commit
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// described is the version that git describe prints. The Makefile sets it with -ldflags=-X; a plain go build leaves it
// empty.
var described string

// thisBuild returns the build of this program.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{Main: debug.Module{Version: "(unknown)"}}
	}
	return buildOf(info, described)
}

// buildOf returns a build. Its version is the described one, or else what Go makes of the tags and the commit.
func buildOf(info *debug.BuildInfo, described string) build {
	b := build{Version: cmp.Or(described, info.Main.Version), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date, _, _ = strings.Cut(s.Value, "T")
		}
	}
	return b
}

// page returns the output of the command version.
func (b build) page() *page {
	return &page{text: fmt.Sprintf("tacacs_plus %s %s %s/%s\n", b.Version, b.Go, b.OS, b.Arch), object: b}
}
