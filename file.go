package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const maxSecretFile = 64 << 10 // bytes

// openFile opens a file to read. what is the purpose of the file, for an error.
func openFile(ctx context.Context, what, name string) (*os.File, error) {
	var f *os.File
	if err := onFile(ctx, name, func() (err error) { f, err = os.Open(name); return err }); err != nil {
		return nil, fileError("read the "+what, err)
	}
	return f, nil
}

// readFile returns the content of a file of at most limit bytes.
func readFile(ctx context.Context, what, name string, limit int) ([]byte, error) {
	var content []byte
	if err := onFile(ctx, name, func() (err error) { content, err = readLimited(name, limit); return err }); err != nil {
		return nil, fileError("read the "+what, err)
	}
	return content, nil
}

// readLimited is readFile for a file that is known to be regular.
func readLimited(name string, limit int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, name, limit)
}

// readAtMost reads all of r, which is called name in an error.
func readAtMost(r io.Reader, name string, limit int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("%s is over %d bytes", name, limit)
	}
	return b, err
}

// firstLine reads up to the first newline.
func firstLine(r *bufio.Reader) (string, error) { return r.ReadString('\n') }

// readAll reads up to the end of a file with secrets, or one byte more than it may have.
func readAll(r *bufio.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSecretFile+1))
	return string(text), err
}

// fileError wraps an error of reading or writing a file with what was being done. An interruption stays as it is,
// and nil too.
func fileError(doing string, err error) error {
	if err == nil || classOf(err) == classInterrupted {
		return err
	}
	return failf(choose(lacksResources(err), classLocal, classUsage), "%s: %w", doing, err)
}

// writeError returns the failure of writing a file, or nil.
func writeError(what string, err error) error {
	if err == nil {
		return nil
	}
	return failf(classLocal, "write the %s: %w", what, err)
}

// onFile calls do, which opens or reads the file. Only what is no regular file, such as a pipe or a terminal,
// may block for ever, and can be interrupted.
func onFile(ctx context.Context, name string, do func() error) error {
	if info, err := os.Stat(name); err != nil || info.Mode().IsRegular() {
		return do()
	}
	return interruptible(ctx, do)
}

// replaceFile writes a file atomically: no reader ever sees a part of it. what is its purpose, for an error. The umask
// decides its mode, as for any new file, unless mode is given. A symbolic link stays one. An existing pipe or device is
// written to, since a file cannot replace it.
func replaceFile(what, name, text string, mode fs.FileMode) error {
	name, _, err := followLinks(name)
	if err != nil {
		return fileError("write the "+what, err)
	}
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return writeError(what, writeInto(name, text))
	}
	part := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text())
	f, err := os.Create(part)
	if failed, ok := err.(*fs.PathError); ok {
		failed.Path = name // not the temporary one
	}
	if err == nil {
		_, err = f.WriteString(text)
		if mode != 0 {
			err = errors.Join(err, f.Chmod(mode))
		}
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(part, name)
		}
		if err != nil {
			os.Remove(part)
		}
	}
	return writeError(what, err)
}

// writeInto writes to a pipe or a device. A pipe without a reader is an error, not a wait.
func writeInto(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK, 0o666) // creates what a link points to
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	return err
}

// followLinks returns the file to which symbolic links lead, and nil for its info if it does not exist. A link of another
// user is an error: that user would choose the file that is written.
func followLinks(name string) (string, fs.FileInfo, error) {
	for range 40 { // as many as Linux follows
		info, err := os.Lstat(name)
		switch {
		case err != nil: // to open it gives a better error, if it is not just a new file
			return name, nil, nil
		case info.Mode()&fs.ModeSymlink == 0:
			return name, info, nil
		case isForeign(info):
			return "", nil, fmt.Errorf("%s is a symbolic link of another user", name)
		}
		folder, _ := filepath.Split(name)
		if real, err := filepath.EvalSymlinks(folder); err == nil && strings.HasPrefix(real, "/proc/") { // a file that is open, such as /dev/stdout
			info, err := os.Stat(name)
			return name, info, err
		}
		target, err := os.Readlink(name)
		if err != nil {
			return "", nil, err
		}
		if name = target; !filepath.IsAbs(target) {
			name = folder + target
		}
	}
	return "", nil, fmt.Errorf("%s: too many symbolic links", name)
}

// openPrivate opens a file to append secrets to. Only its owner, who is not another user, can read it afterwards. check is
// called with a regular file that exists, which stays as it is after an error; it may be nil.
func openPrivate(name string, check func(*os.File) error) (*os.File, error) {
	name, before, err := followLinks(name)
	flags := os.O_WRONLY | os.O_APPEND
	switch {
	case err != nil:
		return nil, err
	case before == nil: // O_EXCL follows no link that was made in the meantime
		return os.OpenFile(name, flags|os.O_CREATE|os.O_EXCL, 0o600)
	case isForeign(before) && before.Mode()&fs.ModeCharDevice == 0:
		return nil, fmt.Errorf("%s belongs to another user", name)
	case check != nil && before.Mode().IsRegular():
		flags = os.O_RDWR | os.O_APPEND
	}
	f, err := os.OpenFile(name, flags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(before, info) {
		err = fmt.Errorf("%s was replaced", name)
	}
	if err == nil && info.Mode().IsRegular() {
		if check != nil {
			err = check(f)
		}
		if err == nil {
			err = f.Chmod(0o600)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
