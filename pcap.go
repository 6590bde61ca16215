package main

import (
	"encoding/binary"
	"io"
)

// A capture reads frames from a pcap or pcapng file or from hexadecimal text. The input may be a stream that
// still grows: a frame is returned as soon as its bytes are there.
type capture struct {
	read func(f *frame) error
	err  error // that ended the capture
}

const magicGzip = 0x1f8b

// newCapture finds out the format from the first bytes. It waits for them, and for the whole header of a pcap
// file. The name is for errors.
func newCapture(r io.Reader, name string, payload *payloadFormat) (*capture, error) {
	in := newCaptureReader(r, name)
	first, err := in.buf.Peek(4)
	if err != nil && err != io.EOF {
		return nil, in.errorf("%w", err)
	}
	magic := uint32(0)
	if len(first) == 4 {
		magic = binary.BigEndian.Uint32(first)
	}
	switch {
	case len(first) == 0:
		return nil, failf(classUsage, "%s is empty", name)
	case magic == magicSection:
		return &capture{read: (&pcapngReader{in: in}).next}, nil
	case magic == magicMicro || magic == magicMicroSwapped || magic == magicNano || magic == magicNanoSwapped:
		p := &pcapReader{in: in}
		if err := p.readHeader(); err != nil {
			return nil, err
		}
		return &capture{read: p.next}, nil
	case magic>>16 == magicGzip:
		return nil, failf(classUsage, "%s is compressed", name).withHint("decompress it first: zcat FILE | tacacs_plus decode")
	case !isText(first):
		return nil, payload.errNotCapture(name)
	}
	return &capture{read: (&hexReader{in: in, payload: payload}).next}, nil
}

func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// nextFrame reads a frame. At the end of the input it returns io.EOF. Any other error is of class usage and
// names the offset; all frames before it were returned.
func (c *capture) nextFrame(f *frame) error {
	if c.err == nil {
		c.err = c.read(f)
	}
	return c.err
}
