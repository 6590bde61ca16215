//go:build !unix

package main

import (
	"io/fs"
	"math"
)

// maxDescriptors returns how many files and connections the program can have open: here there is no such limit.
func maxDescriptors() int { return math.MaxInt32 }

// isForeign reports nothing: here only an administrator can make a symbolic link.
func isForeign(fs.FileInfo) bool { return false }
