// Startup measures one PAP login, the whole process from fork to exit, of tacacs_plus and of a
// minimal program that imports the same packages and does the same exchange (../minimal), against
// a server on loopback. It says whether the limits are kept: time, resident set and size.
//
//	make bench                                  # at the top: the Go benchmarks, then this
//	cd bench && go run ./startup -n 1000 -- -trimpath -ldflags='-s -w'    # this alone, with flags of go build
//
// What the rows are:
//
//	tacacs_plus  the program as it is released
//	minimal      the other program; it imports what tacacs_plus imports, so that the same packages
//	             are initialized, but the linker leaves out what it does not call
//	copy         minimal again: what its ratio is off 1.00 is noise
//	linked       tacacs_plus with minimal's main in place of its own: here the same packages are
//	             linked too, not only imported. The limit is for the ratio to this one; that to
//	             minimal says what it costs to link them
//
// All are built alike, run in turn in an order drawn anew each time, and copied to new files for
// each round, since the pages that a file happens to have in memory are worth some percent.
// Linux only.
package main

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The limits.
const (
	maxRatio = 1.10 // of tacacs_plus to linked
	maxRSS   = 7.0  // MiB
	maxSize  = 7.0  // MB, of linux/amd64
)

const (
	rounds   = 10
	warmUp   = 3 // runs of each round that do not count
	rssRuns  = 30
	user     = "alice"
	key      = "a key of the benchmark"
	password = "a password"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("startup: ")
	runs := flag.Int("n", 300, "runs of each program")
	flag.Parse()
	dir, err := os.MkdirTemp("", "tacacs_plus-startup-")
	if err != nil {
		log.Fatal(err)
	}
	kept, err := measure(dir, *runs, flag.Args())
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
	if !kept {
		os.Exit(1)
	}
}

// A contestant is a program under measurement.
type contestant struct {
	name  string
	built string // where the build left it
	path  string // the copy that runs
	args  []string
	took  []time.Duration
	rss   float64 // MiB
	size  float64 // MB
}

func measure(dir string, runs int, buildFlags []string) (kept bool, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return false, err
	}
	defer listener.Close()
	go serve(listener)

	addr := listener.Addr().String()
	client := &contestant{name: "tacacs_plus", args: []string{"authenticate", user, addr, "-t", "pap"}}
	minimal := &contestant{name: "minimal", args: []string{user, addr}}
	again := &contestant{name: "copy", args: minimal.args}
	linked := &contestant{name: "linked", args: minimal.args}
	all := []*contestant{client, minimal, again, linked}
	for _, c := range all {
		c.built = filepath.Join(dir, c.name)
	}
	again.built = minimal.built
	if err := build(dir, buildFlags, client.built, minimal.built, linked.built); err != nil {
		return false, err
	}

	for round := range rounds {
		for _, c := range all {
			c.path = filepath.Join(dir, fmt.Sprintf("%s-%d", c.name, round))
			if err := copyFile(c.path, c.built); err != nil {
				return false, err
			}
		}
		for i := range warmUp + max(1, runs/rounds) {
			for _, j := range rand.Perm(len(all)) {
				took, err := all[j].time()
				if err != nil {
					return false, err
				}
				if i >= warmUp {
					all[j].took = append(all[j].took, took)
				}
			}
		}
	}
	for _, c := range all {
		if c.rss, err = c.residentSet(); err != nil {
			return false, err
		}
		info, err := os.Stat(c.built)
		if err != nil {
			return false, err
		}
		c.size = float64(info.Size()) / 1e6
	}

	fmt.Printf("One PAP login on loopback, %d runs of each, %s %s/%s\n\n", len(client.took), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Printf("%-12s %9s %9s %9s %7s %9s %9s\n", "", "median", "25%", "75%", "ratio", "RSS MiB", "size MB")
	for _, c := range all {
		fmt.Printf("%-12s %6.3f ms %6.3f ms %6.3f ms %7.3f %9.2f %9.2f\n", c.name,
			c.quantile(0.5), c.quantile(0.25), c.quantile(0.75), c.ratio(minimal), c.rss, c.size)
	}
	fmt.Println()
	fmt.Printf("time to minimal's  %5.2f\n", client.ratio(minimal))
	kept = verdict("time to linked's", client.ratio(linked), maxRatio)
	kept = verdict("resident set, MiB", client.rss, maxRSS) && kept
	if runtime.GOARCH == "amd64" {
		kept = verdict("size, MB", client.size, maxSize) && kept
	}
	return kept, nil
}

func verdict(what string, value, limit float64) bool {
	word := "PASS"
	if value > limit {
		word = "OVER THE LIMIT"
	}
	fmt.Printf("%-18s %5.2f, limit %4.2f: %s\n", what, value, limit, word)
	return value <= limit
}

// build makes the three programs, all in the same way.
func build(dir string, buildFlags []string, client, minimal, linked string) error {
	top, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	here, err := filepath.Abs("minimal")
	if err != nil {
		return err
	}

	list, err := goTool(top, "list", "-f", "{{range .Imports}}{{println .}}{{end}}", ".")
	if err != nil {
		return err
	}
	imports := "package main\n"
	for name := range strings.FieldsSeq(list) {
		imports += fmt.Sprintf("import _ %q\n", name)
	}
	minimalMain, err := os.ReadFile(filepath.Join(here, "main.go"))
	if err != nil {
		return err
	}
	ourMain, err := os.ReadFile(filepath.Join(top, "main.go"))
	if err != nil {
		return err
	}
	renamed := strings.Replace(string(ourMain), "\nfunc main() {", "\nfunc init() {\n\tif len(os.Args) == 1 {\n\t\tourMain()\n\t}\n}\n\nfunc ourMain() {", 1)
	if !strings.Contains(imports, `"net"`) || renamed == string(ourMain) {
		return fmt.Errorf("%s does not look like tacacs_plus", top)
	}

	flags := slices.Concat([]string{"build", "-buildvcs=false"}, buildFlags)
	if _, err := goTool(top, append(flags, "-o", client, ".")...); err != nil {
		return err
	}
	minimalOverlay, err := overlay(dir, map[string]string{filepath.Join(here, "imports.go"): imports})
	if err != nil {
		return err
	}
	if _, err := goTool(here, append(flags, "-overlay", minimalOverlay, "-o", minimal, ".")...); err != nil {
		return err
	}
	linkedOverlay, err := overlay(dir, map[string]string{filepath.Join(top, "main.go"): renamed, filepath.Join(top, "minimal.go"): string(minimalMain)})
	if err != nil {
		return err
	}
	_, err = goTool(top, append(flags, "-overlay", linkedOverlay, "-o", linked, ".")...)
	return err
}

// overlay writes what go build -overlay reads: files that are there for one build only.
func overlay(dir string, files map[string]string) (string, error) {
	dir, err := os.MkdirTemp(dir, "overlay")
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for path, text := range files {
		replace[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	config, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, config, 0o600)
}

func goTool(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%v: %w", cmd, err)
	}
	return string(out), err
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o700)
}

// command is one run of the program that writes to out.
func (c *contestant) command(out *os.File, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"TACACS_PLUS_KEY=" + key, "TACACS_PLUS_PWD=" + password}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd
}

// time runs the program once.
func (c *contestant) time() (time.Duration, error) {
	r, w, err := os.Pipe() // it holds the whole answer, which can wait there until the end
	if err != nil {
		return 0, err
	}
	defer r.Close()
	cmd := c.command(w, c.path, c.args...)
	began := time.Now()
	err = cmd.Run()
	took := time.Since(began)
	w.Close()
	return took, c.check(r, err)
}

// check insists on PASS.
func (c *contestant) check(out io.Reader, err error) error {
	answer, readErr := io.ReadAll(out)
	if err = cmp.Or(err, readErr); err != nil || !bytes.HasPrefix(answer, []byte("PASS")) {
		return fmt.Errorf("%s: %v: %q", c.name, err, answer)
	}
	return nil
}

// residentSet is the median of several runs, in MiB: the kernel's own count of one is right to some 128 KiB. A process inherits the peak of the one that
// starts it, here a large one, so a small shell does that, and leaves the program behind at once;
// the kernel then gives it to this process as its child.
func (c *contestant) residentSet() (float64, error) {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return 0, fmt.Errorf("become a subreaper: %w", errno)
	}
	var peaks []int64 // KiB
	for range rssRuns {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		err = c.command(w, "/bin/sh", append([]string{"-c", `"$0" "$@" &`, c.path}, c.args...)...).Run()
		w.Close()
		var status syscall.WaitStatus
		var usage syscall.Rusage
		if err == nil {
			_, err = syscall.Wait4(-1, &status, 0, &usage)
		}
		if err == nil && status != 0 {
			err = fmt.Errorf("wait status %#x", status)
		}
		err = c.check(r, err)
		r.Close()
		if err != nil {
			return 0, err
		}
		peaks = append(peaks, int64(usage.Maxrss))
	}
	slices.Sort(peaks)
	return float64(peaks[len(peaks)/2]) / 1024, nil
}

// quantile is in milliseconds.
func (c *contestant) quantile(q float64) float64 {
	slices.Sort(c.took)
	return c.took[int(q*float64(len(c.took)-1))].Seconds() * 1000
}

func (c *contestant) ratio(to *contestant) float64 { return c.quantile(0.5) / to.quantile(0.5) }

// serve answers PAP logins.
func serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer conn.Close()
			if err := answer(conn); err != nil {
				log.Printf("server: %v", err)
			}
		}()
	}
}

func answer(conn net.Conn) error {
	header := make([]byte, 12)
	if _, err := io.ReadFull(conn, header); err != nil {
		return err
	}
	body := make([]byte, min(binary.BigEndian.Uint32(header[8:]), 1<<16))
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	obfuscate(header, body)
	reply := []byte{2, 0, 0, 0, 0, 0} // FAIL
	if bytes.HasPrefix(body, []byte{1, 0, 2, 1}) && bytes.HasSuffix(body, []byte(password)) {
		reply[0] = 1 // PASS
	}
	header[2]++ // seq_no
	binary.BigEndian.PutUint32(header[8:], uint32(len(reply)))
	obfuscate(header, reply)
	if _, err := conn.Write(append(header, reply...)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, conn) // until the client closes
	return err
}

// obfuscate is RFC 8907 section 4.5, for bodies of a few blocks.
func obfuscate(header, body []byte) {
	seed := slices.Concat(header[4:8], []byte(key), header[0:1], header[2:3])
	var sum []byte
	for block := range slices.Chunk(body, md5.Size) {
		pad := md5.Sum(slices.Concat(seed, sum))
		sum = pad[:]
		for i := range block {
			block[i] ^= pad[i]
		}
	}
}
