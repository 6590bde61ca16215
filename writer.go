package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// An outlet writes as long as somebody reads, and after the end of ctx for no longer than a moment:
// a reader that has stopped does not keep the program from ending.
type abandonableWriter struct {
	ctx    context.Context
	to     io.Writer
	unread atomic.Bool // nobody has read for that moment
}

func (o *abandonableWriter) Write(p []byte) (int, error) {
	if o.unread.Load() {
		return len(p), errUnread
	}
	written := make(chan error, 1)
	text := bytes.Clone(p) // an abandoned write still looks at it
	go func() {
		_, err := o.to.Write(text)
		written <- err
	}()
	var err error
	select {
	case err = <-written:
	case <-o.ctx.Done():
		select {
		case err = <-written:
		case <-time.After(unreadLimit):
			o.unread.Store(true)
			err = errUnread
		}
	}
	return len(p), err
}

const unreadLimit = time.Second

var errUnread = errors.New("nobody reads them")
