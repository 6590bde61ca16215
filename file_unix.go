//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// isForeign reports whether a file belongs to another user, root excepted.
func isForeign(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid()
}
