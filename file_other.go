//go:build !unix

package main

import "io/fs"

// isForeign reports nothing: here only an administrator can make a symbolic link.
func isForeign(fs.FileInfo) bool { return false }
