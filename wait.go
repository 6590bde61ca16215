package main

import (
	"context"
	"time"
)

// interruptible calls do and returns when it does, or when ctx ends. In the latter case do may still be
// running, so its results must not be read.
func interruptible(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return interrupted(ctx)
	}
}

// within calls do and returns when it does, or after limit. In the latter case do may still be running.
func within(limit time.Duration, do func()) {
	limited, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = interruptible(limited, func() error { do(); return nil })
}

// every calls do at each interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, do func(now time.Time)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			do(now)
		}
	}
}

// tryReceive reports whether a channel is closed or has a value, which it takes.
func tryReceive(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
