//go:build !linux

package main

import "time"

// monotonicTime returns 0: systemd is on Linux only.
func monotonicTime() time.Duration { return 0 }
