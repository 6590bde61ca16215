package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// A fileWatch has files read again when they have changed.
type fileWatch struct {
	files   []string
	read    func(context.Context) error
	report  func(error) // is called after read, unless that fails as it did before
	reading sync.Mutex
	seen    []fileState // when they were read last
	failed  string      // why they could not be read then; or empty
}

// start begins to watch files, before they are read.
func (w *fileWatch) start(files []string, read func(context.Context) error, report func(error)) {
	w.files, w.read, w.report, w.seen = files, read, report, fileStates(files, nil)
}

// refresh calls read if the files have changed since they were read last. While another call reads, it does nothing.
func (w *fileWatch) refresh(ctx context.Context) {
	if !w.reading.TryLock() {
		return
	}
	defer w.reading.Unlock()
	before := w.seen
	if w.seen = fileStates(w.files, before); slices.EqualFunc(w.seen, before, fileState.same) {
		return
	}
	err, failed := w.read(ctx), ""
	if err != nil {
		failed = err.Error()
	}
	if err == nil || failed != w.failed {
		w.report(err)
	}
	w.failed = failed
}

// A fileState tells whether a file has changed.
type fileState struct {
	info  fs.FileInfo // nil if it is not a regular file
	young bool        // it can change again without a difference in info
	sum   []byte      // of the contents, if it is young or was before; or nil
}

// same reports whether a file has not changed since it was in state seen.
func (s fileState) same(seen fileState) bool {
	if s.info == nil || seen.info == nil {
		return s.info == seen.info
	}
	return os.SameFile(s.info, seen.info) && s.info.Size() == seen.info.Size() && s.info.ModTime().Equal(seen.info.ModTime()) &&
		(s.sum == nil || bytes.Equal(s.sum, seen.sum))
}

// youngFor is how long a file is young. Some file systems count its time in units of two seconds.
const youngFor = 3 * time.Second

// fileStates returns the state of each file. seen are the states before, or nil.
func fileStates(files []string, seen []fileState) []fileState {
	states := make([]fileState, len(files))
	for i, file := range files {
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		states[i] = fileState{info: info, young: time.Since(info.ModTime()) < youngFor}
		if states[i].young || seen != nil && seen[i].young {
			if data, err := readLimited(file, maxCRLFile); err == nil {
				sum := sha256.Sum256(data)
				states[i].sum = sum[:]
			}
		}
	}
	return states
}
