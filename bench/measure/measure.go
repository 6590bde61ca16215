// Package measure has the parts that the benchmarks share. Linux only.
package measure

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Main parses the flags and runs a benchmark with a temporary folder. It exits with 1 after an error and
// if a limit is missed.
func Main(name string, timeLimit time.Duration, benchmark func(ctx context.Context, dir string) (*Report, error)) {
	log.SetFlags(0)
	log.SetPrefix(name + ": ")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	dir, err := os.MkdirTemp("", "tacacs_plus-"+name+"-")
	if err != nil {
		log.Fatal(err)
	}
	report, err := benchmark(ctx, dir)
	stop()
	cancel()
	os.RemoveAll(dir)
	if err == nil && report.missed {
		err = errors.New("a limit is missed")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// Build builds the program in the folder dir with the flags of the Makefile in the folder top. dir is
// relative to top.
func Build(ctx context.Context, top, dir, out string) error {
	build := exec.CommandContext(ctx, "make", "-s", "--no-print-directory", "-C", top,
		"--eval=measured: ; cd $(DIR) && $(GO_BUILD) -o $(OUT) .", "DIR="+dir, "OUT="+out, "measured")
	build.Env = append(os.Environ(), "MAKEFLAGS=")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build %s: %w", dir, err)
	}
	return nil
}

// Listen starts a command of tacacs_plus that listens, and returns its address.
func Listen(cmd *exec.Cmd) (addr string, err error) {
	cmd.Stderr = nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	var messages []string
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if _, addr, ok := strings.Cut(lines.Text(), "listening on "); ok {
			go io.Copy(io.Discard, stderr) // until it ends
			return addr, nil
		}
		messages = append(messages, lines.Text())
	}
	return "", errors.Join(fmt.Errorf("%v does not listen: %q", cmd, messages), cmd.Wait())
}

// PeakRSS runs a command to its end and returns its largest resident set in MiB. The streams of cmd must
// be files or nil.
//
// A process inherits the peak of the one that starts it. So a small shell starts the command and exits,
// and the kernel makes the command a child of this process.
func PeakRSS(ctx context.Context, cmd *exec.Cmd) (float64, error) {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return 0, fmt.Errorf("become a subreaper: %w", errno)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	file := func(stream any) *os.File {
		if f, ok := stream.(*os.File); ok {
			return f
		}
		return null
	}
	const script = `"$0" "$@" <&3 >&4 2>&5 3<&- 4>&- 5>&- & echo $!`
	shell := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, cmd.Path}, cmd.Args[1:]...)...)
	shell.Env = cmd.Env
	shell.ExtraFiles = []*os.File{file(cmd.Stdin), file(cmd.Stdout), file(cmd.Stderr)}
	out, err := shell.Output()
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
	defer context.AfterFunc(ctx, func() { _ = process.Kill() })()
	state, err := process.Wait()
	if err != nil {
		return 0, err
	}
	if !state.Success() {
		return 0, fmt.Errorf("%v: %v", cmd, state)
	}
	return float64(state.SysUsage().(*syscall.Rusage).Maxrss) / 1024, nil
}

// Median returns the median of values in any order.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile returns a quantile of values in any order, interpolated between its neighbours.
func Quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// Ratio returns the median of the ratios of values measured one right after the other.
func Ratio(of, to []float64) float64 {
	ratios := make([]float64, len(of))
	for i := range of {
		ratios[i] = of[i] / to[i]
	}
	return Median(ratios)
}

// A Report prints figures beside their limits.
type Report struct{ missed bool }

// AtLeast prints a figure that must not be below its limit. It is not judged if judged is false.
func (r *Report) AtLeast(name string, value, limit float64, judged bool) {
	r.print(name, value, "at least", limit, value >= limit, judged)
}

// AtMost prints a figure that must not be above its limit. It is not judged if judged is false.
func (r *Report) AtMost(name string, value, limit float64, judged bool) {
	r.print(name, value, "at most", limit, value <= limit, judged)
}

func (r *Report) print(name string, value float64, kind string, limit float64, ok, judged bool) {
	verdict := "ok"
	switch {
	case !judged:
		verdict = "not judged"
	case !ok:
		verdict, r.missed = "MISSED", true
	}
	fmt.Printf("%-48s %8.2f  %-8s %6.2f  %s\n", name, value, kind, limit, verdict)
}
