package main

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// openFile opens a file to read. An error says what that is for.
func openFile(ctx context.Context, what, name string) (*os.File, error) {
	var f *os.File
	err := interruptible(ctx, func() (err error) { f, err = os.Open(name); return err })
	switch {
	case classOf(err) == classInterrupted:
		return nil, err
	case err != nil:
		return nil, failf(classUsage, "read the %s: %w", what, err)
	}
	return f, nil
}

// interruptible does what may wait for ever, as to open a pipe may, or to read it, for no longer than ctx. After
// that nobody may look at what it does.
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

// replaceFile writes a file so that no reader ever sees a part of it. Its mode is that of any new
// file: what the umask leaves. A symbolic link stays one. What is there and is no file, such as a
// pipe, is written to: nothing can take its place.
func replaceFile(name, text string) error {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return writeInto(name, text)
	}
	part := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text())
	f, err := os.Create(part)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(part, name)
		}
		if err != nil {
			os.Remove(part)
		}
	}
	return notWritten(err)
}

// writeInto writes to what is no file. A pipe that nobody reads is an error, not a wait.
func writeInto(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK, 0o666) // creates what a link points to
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	return notWritten(err)
}

// notWritten is for a report that did not get to its file; nil for one that did.
func notWritten(err error) error {
	if err == nil {
		return nil
	}
	return failf(classUsage, "write the report: %w", err)
}

// readPEM reads a file that must hold, in PEM, a block of a type that ends with holds.
func readPEM(file, what, holds string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, failf(classUsage, "read the %s: %w", what, err)
	}
	block, rest := pem.Decode(b)
	if block == nil {
		return nil, failf(classUsage, "the %s %s is not PEM", what, file).
			withHint("a PEM file has a line -----BEGIN; openssl x509 -inform DER converts a certificate")
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, holds) {
			return b, nil
		}
	}
	return nil, failf(classUsage, "the %s %s holds no %s", what, file, strings.ToLower(holds)).
		withHint("--cacert and --cert take certificates, --cert-key takes a private key")
}
