// Decode measures tacacs_plus decode against tshark: both read the same capture of 100,000 sessions
// with the same key, as whole processes that take turns, and write what they make of it to /dev/null.
// It says whether the limits are kept.
//
//	make bench                          # at the top: this among others
//	cd bench && go run ./decode        # this alone
//	cd bench && go run ./decode -n 10000
//
// The capture is made here (capture.go), by code that has nothing of the program's. Linux only; tshark
// must be installed.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The limits.
const (
	minRatio  = 50.0 // of tshark's time to ours
	maxRSS    = 24.0 // MiB, however many sessions
	maxGrowth = 2.0  // MiB between the sessions that are timed and ten times as many
)

const (
	key       = "a key of the benchmark"
	rounds    = 3
	shortRuns = 9                // of decode in a round: tshark's one takes as long as fifty of them
	timeLimit = 10 * time.Minute // for everything
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("decode: ")
	sessions := flag.Int("n", 100_000, "sessions in the capture")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "tacacs_plus-decode-")
	if err != nil {
		log.Fatal(err)
	}
	b := &benchmark{ctx: ctx, sessions: *sessions, program: filepath.Join(dir, "tacacs_plus"), capture: filepath.Join(dir, "capture.pcap"), keyFile: filepath.Join(dir, "key")}
	err = b.run()
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
}

type benchmark struct {
	ctx      context.Context
	sessions int
	packets  int    // of TACACS+ in the capture
	program  string // tacacs_plus
	capture  string
	keyFile  string
}

func (b *benchmark) run() error {
	if err := b.prepare(); err != nil {
		return err
	}
	var ours, theirs, ratios []float64
	for range rounds {
		our, err := b.time(shortRuns, b.program, "decode", "--key-file", b.keyFile, b.capture)
		if err != nil {
			return err
		}
		their, err := b.time(1, "tshark", "-r", b.capture, "-o", "tacplus.key:"+key, "-Y", "tacplus", "-T", "fields", "-e", "tacplus.seqno")
		if err != nil {
			return err
		}
		ours, theirs, ratios = append(ours, our), append(theirs, their), append(ratios, their/our)
	}
	var few, many float64 // the largest: when the collector works is chance
	for range rounds {
		one, err := b.residentSet(b.sessions)
		if err != nil {
			return err
		}
		ten, err := b.residentSet(10 * b.sessions)
		if err != nil {
			return err
		}
		few, many = max(few, one), max(many, ten)
	}
	fmt.Printf("A capture of %d sessions (%d packets), medians of %d rounds, %s %s/%s, %d CPUs\n\n",
		b.sessions, b.packets, rounds, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	fmt.Printf("tshark               %8.3f s  %9.0f sessions/s\n", median(theirs), float64(b.sessions)/median(theirs))
	fmt.Printf("tacacs_plus decode   %8.3f s  %9.0f sessions/s\n\n", median(ours), float64(b.sessions)/median(ours))
	kept := verdict("times as fast", median(ratios), minRatio, median(ratios) >= minRatio)
	kept = verdict(fmt.Sprintf("resident set of %d sessions, MiB", 10*b.sessions), many, maxRSS, many <= maxRSS) && kept
	kept = verdict(fmt.Sprintf("more than of %d, MiB", b.sessions), many-few, maxGrowth, many-few <= maxGrowth) && kept
	if !kept {
		return errors.New("a limit is missed")
	}
	return nil
}

// prepare builds the program the way the Makefile does, makes the capture, and sees that both
// programs find in it what is there.
func (b *benchmark) prepare() error {
	build := exec.CommandContext(b.ctx, "make", "-s", "--no-print-directory", "-C", "..", "--eval=measured: ; $(GO_BUILD) -o $(OUT) .", "OUT="+b.program, "measured")
	build.Env = append(os.Environ(), "MAKEFLAGS=")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build tacacs_plus: %w", err)
	}
	if err := os.WriteFile(b.keyFile, []byte(key+"\n"), 0o600); err != nil {
		return err
	}
	f, err := os.Create(b.capture)
	if err != nil {
		return err
	}
	b.packets, err = writeCapture(f, b.sessions)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	lines, err := b.lines(b.program, "decode", "--key-file", b.keyFile, b.capture)
	if err == nil && lines != b.sessions {
		err = fmt.Errorf("decode finds %d sessions, not %d", lines, b.sessions)
	}
	if err != nil {
		return err
	}
	lines, err = b.lines("tshark", "-r", b.capture, "-o", "tacplus.key:"+key, "-Y", "tacplus", "-T", "fields", "-e", "tacplus.seqno")
	if err == nil && lines != b.packets {
		err = fmt.Errorf("tshark finds %d packets, not %d", lines, b.packets)
	}
	return err
}

// lines is how many lines a program prints.
func (b *benchmark) lines(name string, args ...string) (int, error) {
	out, err := exec.CommandContext(b.ctx, name, args...).Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return bytes.Count(out, []byte("\n")), nil
}

// time is how long the whole process takes, in seconds, the median of some runs; its output goes to /dev/null.
func (b *benchmark) time(runs int, name string, args ...string) (float64, error) {
	var took []float64
	for range runs {
		began := time.Now()
		if err := exec.CommandContext(b.ctx, name, args...).Run(); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		took = append(took, time.Since(began).Seconds())
	}
	return median(took), nil
}

// residentSet is the peak of decode while it reads a capture of so many sessions from standard
// input, in MiB. A process inherits the peak of the one that starts it, so a small shell does that
// and leaves the program behind at once; the kernel then gives it to this process as its child.
func (b *benchmark) residentSet(sessions int) (float64, error) {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return 0, fmt.Errorf("become a subreaper: %w", errno)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	shell := exec.CommandContext(b.ctx, "/bin/sh", "-c", `"$0" "$@" <&3 >/dev/null 2>&1 3<&- & echo $!`, b.program, "decode", "--key-file", b.keyFile)
	shell.ExtraFiles = []*os.File{r}
	out, err := shell.Output()
	r.Close()
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return 0, err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return 0, err
	}
	defer context.AfterFunc(b.ctx, func() { _ = process.Kill() })()
	_, err = writeCapture(io.Writer(w), sessions)
	err = errors.Join(err, w.Close())
	state, waitErr := process.Wait()
	if err = errors.Join(err, waitErr); err == nil && !state.Success() {
		err = fmt.Errorf("decode: %v", state)
	}
	if err != nil {
		return 0, err
	}
	return float64(state.SysUsage().(*syscall.Rusage).Maxrss) / 1024, nil
}

func verdict(what string, value, limit float64, kept bool) bool {
	word := "PASS"
	if !kept {
		word = "MISSED"
	}
	fmt.Printf("%-40s %6.2f, limit %5.2f: %s\n", what, value, limit, word)
	return kept
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
