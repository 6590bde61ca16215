package main

import (
	"io"
	"os"
	"slices"
	"sort"
	"time"
)

// captureOrder returns the names of captures in the order of their first frames, as rotated files may come in any order.
// What is not a regular file, or has no date, keeps its place.
func captureOrder(names []string, payload *payloadFormat) []string {
	type file struct {
		place int
		at    time.Time
	}
	var files []*file
	for i, name := range names {
		if at := firstTime(name, payload); dated(at) {
			files = append(files, &file{i, at})
		}
	}
	ordered, dated := slices.Clone(names), slices.Clone(files)
	sort.SliceStable(files, func(i, j int) bool { return files[i].at.Before(files[j].at) })
	for i, f := range files {
		ordered[dated[i].place] = names[f.place]
	}
	return ordered
}

// firstTime returns the time of the first frame of a capture, or zero if it is unknown.
func firstTime(name string, payload *payloadFormat) time.Time {
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return time.Time{}
	}
	in, err := os.Open(name)
	if err != nil {
		return time.Time{}
	}
	defer in.Close()
	next, err := newCapture(in, name, payload, nil)
	if err != nil {
		return time.Time{}
	}
	var f frame
	_ = next(&f) // after an error the time is unknown
	return f.at
}

// isRegular reports whether a reader is a regular file, which does not grow while it is read.
func isRegular(r io.Reader) bool {
	file, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode().IsRegular()
}
