// Startup measures one PAP login by tacacs_plus, the whole process from fork to exit, beside the least Go
// program for the same login (../linked).
//
//	make bench                              # at the top: this and the other benchmarks
//	cd bench && go run ./startup -n 1000    # this alone
//
// Both programs are built with the flags of the Makefile. They log in to tacacs_plus serve, with key and
// password from the environment and from two files. The runs are interleaved in random order, and a ratio
// is the median of the ratios of each turn. The ratio of "linked again" to "linked" is noise. Each round
// uses new copies of the programs, since the pages of a file in memory affect the time by some percent.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"bench/measure"
)

// The limits, and a goal that is not judged.
const (
	goalRatio = 1.10 // of the time of tacacs_plus to that of linked
	maxRSS    = 8.0  // MiB
	maxSize   = 8.0  // MB, for linux/amd64
)

const (
	rounds   = 10
	warmUp   = 3 // runs of each round that are not measured
	rssRuns  = 30
	user     = "alice"
	key      = "a key of the benchmark"
	password = "a password"
)

func main() {
	turns := flag.Int("n", 300, "runs of each program")
	measure.Main("startup", 10*time.Minute, func(ctx context.Context, dir string) (*measure.Report, error) {
		return run(ctx, dir, *turns)
	})
}

// A contestant is a program with its arguments, and its measured times.
type contestant struct {
	name    string
	program string // the name of the built file
	env     []string
	args    []string
	times   []float64 // ms
}

func run(ctx context.Context, dir string, turns int) (*measure.Report, error) {
	for program, source := range map[string]string{"tacacs_plus": ".", "linked": "bench/linked"} {
		if err := measure.Build(ctx, "..", source, filepath.Join(dir, program)); err != nil {
			return nil, err
		}
	}
	keyFile, passwordFile := filepath.Join(dir, "key"), filepath.Join(dir, "password")
	for file, text := range map[string]string{keyFile: key, passwordFile: password} {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	env := []string{"TACACS_PLUS_KEY=" + key, "TACACS_PLUS_PWD=" + password}
	server := exec.CommandContext(ctx, filepath.Join(dir, "tacacs_plus"), "serve", "--listen", "127.0.0.1:0", "--user", user+":"+password)
	server.Env = env
	addr, err := measure.Listen(server)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	}()

	login := []string{"authenticate", user, addr, "-t", "pap"}
	client := &contestant{name: "tacacs_plus", program: "tacacs_plus", env: env, args: login}
	linked := &contestant{name: "linked", program: "linked", env: env, args: []string{user, addr}}
	again := &contestant{name: "linked again", program: "linked", env: env, args: linked.args}
	files := []string{"--key-file", keyFile, "--password-file", passwordFile}
	clientFiles := &contestant{name: "tacacs_plus, files", program: "tacacs_plus", args: slices.Concat(login, files)}
	linkedFiles := &contestant{name: "linked, files", program: "linked", args: slices.Concat(files, linked.args)}
	all := []*contestant{client, linked, again, clientFiles, linkedFiles}
	for round := range rounds {
		paths := make([]string, len(all))
		for i, c := range all {
			paths[i] = filepath.Join(dir, fmt.Sprintf("%d-%d", round, i))
			if err := copyFile(paths[i], filepath.Join(dir, c.program)); err != nil {
				return nil, err
			}
		}
		for turn := range warmUp + max(1, turns/rounds) {
			for _, i := range rand.Perm(len(all)) {
				elapsed, err := all[i].time(ctx, paths[i])
				if err != nil {
					return nil, err
				}
				if turn >= warmUp {
					all[i].times = append(all[i].times, elapsed)
				}
			}
		}
	}

	fmt.Printf("One PAP login on loopback, %d runs of each, %s %s/%s\n\n", len(client.times), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Printf("%-20s %9s %9s %9s %9s %9s\n", "", "median", "25%", "75%", "RSS MiB", "size MB")
	resident, sizes := map[*contestant]float64{}, map[*contestant]float64{}
	for _, c := range all {
		if resident[c], err = c.residentSet(ctx, filepath.Join(dir, c.program)); err != nil {
			return nil, err
		}
		info, err := os.Stat(filepath.Join(dir, c.program))
		if err != nil {
			return nil, err
		}
		sizes[c] = float64(info.Size()) / 1e6
		fmt.Printf("%-20s %6.3f ms %6.3f ms %6.3f ms %9.2f %9.2f\n", c.name,
			measure.Median(c.times), measure.Quantile(c.times, 0.25), measure.Quantile(c.times, 0.75), resident[c], sizes[c])
	}
	fmt.Println()
	fmt.Printf("%-48s %8.2f  goal     %6.2f\n", "time, to linked's", measure.Ratio(client.times, linked.times), goalRatio)
	fmt.Printf("%-48s %8.2f  goal     %6.2f\n", "time with secrets from files, to linked's", measure.Ratio(clientFiles.times, linkedFiles.times), goalRatio)
	fmt.Printf("%-48s %8.2f\n", "noise: linked again, to linked", measure.Ratio(again.times, linked.times))
	report := new(measure.Report)
	report.AtMost("resident set, MiB", max(resident[client], resident[clientFiles]), maxRSS, true)
	report.AtMost("size, MB", sizes[client], maxSize, runtime.GOARCH == "amd64")
	return report, nil
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o700)
}

// time runs the program once and returns its time in ms.
func (c *contestant) time(ctx context.Context, path string) (float64, error) {
	var elapsed time.Duration
	err := c.checked(func(out *os.File) error {
		cmd := exec.CommandContext(ctx, path, c.args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = c.env, out, out
		began := time.Now()
		err := cmd.Run()
		elapsed = time.Since(began)
		return err
	})
	return elapsed.Seconds() * 1000, err
}

// residentSet returns the median of several runs in MiB: the kernel counts one only to some 128 KiB.
func (c *contestant) residentSet(ctx context.Context, path string) (float64, error) {
	var peaks []float64
	for range rssRuns {
		err := c.checked(func(out *os.File) error {
			cmd := exec.CommandContext(ctx, path, c.args...)
			cmd.Env, cmd.Stdout, cmd.Stderr = c.env, out, out
			peak, err := measure.PeakRSS(ctx, cmd)
			peaks = append(peaks, peak)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return measure.Median(peaks), nil
}

// checked runs the program, which writes to out, and checks that the login passed.
func (c *contestant) checked(run func(out *os.File) error) error {
	r, w, err := os.Pipe() // its buffer is large enough for the output
	if err != nil {
		return err
	}
	defer r.Close()
	err = run(w)
	w.Close()
	output, readErr := io.ReadAll(r)
	if err != nil || readErr != nil || !bytes.HasPrefix(output, []byte("PASS")) {
		return fmt.Errorf("%s: %v, %v: %q", c.name, err, readErr, output)
	}
	return nil
}
