// Startup measures one PAP login, the whole process from fork to exit, of tacacs_plus and of a
// minimal program that imports the same packages and does the same exchange (../minimal), against
// a server on loopback. It says whether the limits are kept: time, resident set and size.
//
//	make bench                                  # at the top: the Go benchmarks, then this
//	cd .bench && go run ./startup               # this alone
//	cd .bench && go run ./startup -n 1000       # more runs, for a busy machine
//
// Both binaries are built alike and run in turn, tacacs_plus, minimal, the copy, tacacs_plus, and
// so on, from copies that are made anew for each round. The copy is minimal a second time: what
// its ratio is off 1.00 is noise, and a result within that noise of its limit says nothing.
// Linux only.
package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"bench/pad"
)

// The limits.
const (
	maxRatio = 1.10
	maxRSS   = 7 << 20   // 7 MiB
	maxSize  = 6_500_000 // 6.5 MB, of linux/amd64
)

const (
	rounds   = 10 // each with fresh copies
	warmUp   = 5  // runs of each copy that do not count
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
	ok, err := measure(*runs)
	if err != nil {
		log.Fatal(err)
	}
	if !ok {
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
	rss   int64 // octets
	size  int64
}

func measure(runs int) (ok bool, err error) {
	dir, err := os.MkdirTemp("", "tacacs_plus-startup-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return false, err
	}
	defer listener.Close()
	go serve(listener)
	addr := listener.Addr().String()

	client := &contestant{name: "tacacs_plus", built: filepath.Join(dir, "tacacs_plus"), args: []string{"authenticate", user, addr, "-t", "pap"}}
	minimal := &contestant{name: "minimal", built: filepath.Join(dir, "minimal"), args: []string{user, addr}}
	again := &contestant{name: "copy", built: minimal.built, args: minimal.args}
	all := []*contestant{client, minimal, again}
	if err := build(client.built, minimal.built); err != nil {
		return false, err
	}

	for round := range rounds {
		for _, c := range all {
			c.path = filepath.Join(dir, fmt.Sprintf("%s-%d", c.name, round))
			if err := copyFile(c.path, c.built); err != nil {
				return false, err
			}
		}
		for i := range warmUp + runs/rounds {
			for _, c := range all {
				took, err := c.time()
				if err != nil {
					return false, err
				}
				if i >= warmUp {
					c.took = append(c.took, took)
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
		c.size = info.Size()
	}
	return report(client, minimal, again), nil
}

func report(client, minimal, again *contestant) bool {
	fmt.Printf("One PAP login on loopback, %d runs of each, %s %s/%s\n\n", len(client.took), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Printf("%-12s %9s %9s %9s %7s %9s %9s\n", "", "median", "25%", "75%", "ratio", "RSS MiB", "size MB")
	ratio := func(c *contestant) float64 {
		return float64(c.quantile(0.5)) / float64(minimal.quantile(0.5))
	}
	for _, c := range []*contestant{client, minimal, again} {
		ms := func(q float64) float64 { return float64(c.quantile(q).Microseconds()) / 1000 }
		fmt.Printf("%-12s %6.3f ms %6.3f ms %6.3f ms %7.3f %9.2f %9.2f\n", c.name, ms(0.5), ms(0.25), ms(0.75),
			ratio(c), float64(c.rss)/(1<<20), float64(c.size)/1e6)
	}
	fmt.Println()
	ok := true
	verdict := func(what string, value, limit float64, unit string) {
		word := "PASS"
		if value > limit {
			word, ok = "OVER THE LIMIT", false
		}
		fmt.Printf("%-13s %5.2f%s, limit %.2f%s: %s\n", what, value, unit, limit, unit, word)
	}
	verdict("time", ratio(client), maxRatio, " times minimal")
	verdict("resident set", float64(client.rss)/(1<<20), maxRSS>>20, " MiB")
	if runtime.GOARCH == "amd64" {
		verdict("size", float64(client.size)/1e6, maxSize/1e6, " MB")
	}
	return ok
}

// build makes both programs in the same way, minimal with the imports of tacacs_plus.
func build(client, minimal string) error {
	top, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	goTool := func(dir string, args ...string) ([]byte, error) {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("%v: %w", cmd, err)
		}
		return out, err
	}
	imports, err := goTool(top, "list", "-f", "{{.Name}} {{.GoFiles}}\n{{range .Imports}}{{.}}\n{{end}}", ".")
	if err != nil {
		return err
	}
	head, names, _ := strings.Cut(string(imports), "\n")
	if !strings.HasPrefix(head, "main ") || !strings.Contains(names, "net\n") {
		return fmt.Errorf("no program in %s that imports net: %s", top, head)
	}
	source := "package main\n"
	for name := range strings.FieldsSeq(names) {
		source += fmt.Sprintf("import _ %q\n", name)
	}
	// The file exists for this build only.
	file, overlay := minimal+"_imports.go", minimal+"_overlay.json"
	here, err := filepath.Abs("minimal")
	if err != nil {
		return err
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "imports.go"): file}})
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(file, []byte(source), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return err
	}
	flags := []string{"build", "-trimpath", "-ldflags=-s -w", "-buildvcs=false"}
	_, err = goTool(top, append(flags, "-o", client, ".")...)
	if err == nil {
		_, err = goTool(".", append(flags, "-overlay", overlay, "-o", minimal, "./minimal")...)
	}
	return err
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o700)
}

// environ is all that the programs see of it.
func environ() []string {
	return []string{"TACACS_PLUS_KEY=" + key, "TACACS_PLUS_PWD=" + password}
}

// time runs the program once.
func (c *contestant) time() (time.Duration, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	cmd := exec.Command(c.path, c.args...)
	cmd.Env = environ()
	cmd.Stdout, cmd.Stderr = w, w // files, so that the answer can wait until the end
	began := time.Now()
	err = cmd.Run()
	took := time.Since(began)
	w.Close()
	return took, c.check(r, err)
}

// check reads the program's output, which fits into a pipe, and insists on PASS.
func (c *contestant) check(out io.Reader, err error) error {
	answer, readErr := io.ReadAll(out)
	if err = cmp.Or(err, readErr); err != nil || !bytes.HasPrefix(answer, []byte("PASS")) {
		return fmt.Errorf("%s: %v: %q", c.name, err, answer)
	}
	return nil
}

// residentSet is the largest of several runs. A process inherits the peak of the one that it was
// forked from, here a large one, so that a small shell starts the program and leaves it behind;
// the kernel gives it to this process as its child.
func (c *contestant) residentSet() (int64, error) {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return 0, fmt.Errorf("become subreaper: %w", errno)
	}
	var peak int64
	for range rssRuns {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		cmd := exec.Command("/bin/sh", append([]string{"-c", `"$0" "$@" &`, c.path}, c.args...)...)
		cmd.Env = environ()
		cmd.Stdout, cmd.Stderr = w, w
		err = cmd.Run()
		w.Close()
		var status syscall.WaitStatus
		var usage syscall.Rusage
		if err == nil {
			_, err = syscall.Wait4(-1, &status, 0, &usage)
		}
		if err == nil && status != 0 {
			err = fmt.Errorf("status %#x", status)
		}
		err = c.check(r, err)
		r.Close()
		if err != nil {
			return 0, err
		}
		peak = max(peak, int64(usage.Maxrss)<<10)
	}
	return peak, nil
}

func (c *contestant) quantile(q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(c.took))
	return sorted[int(q*float64(len(sorted)-1))]
}

// serve answers every login with the right password with PASS.
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
	packet := make([]byte, pad.HeaderLen)
	if _, err := io.ReadFull(conn, packet); err != nil {
		return err
	}
	packet = append(packet, make([]byte, min(binary.BigEndian.Uint32(packet[8:]), 1<<16))...)
	if _, err := io.ReadFull(conn, packet[pad.HeaderLen:]); err != nil {
		return err
	}
	pad.XOR(packet, key)
	status := byte(2) // FAIL
	if body := string(packet[pad.HeaderLen:]); strings.HasPrefix(body, "\x01\x00\x02\x01") && strings.HasSuffix(body, password) {
		status = 1 // PASS
	}
	reply := append(packet[:pad.HeaderLen:pad.HeaderLen], status, 0, 0, 0, 0, 0)
	reply[2], reply[11] = 2, 6 // seq_no, length; a START of this size leaves the length's other octets 0
	pad.XOR(reply, key)
	if _, err := conn.Write(reply); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, conn) // until the client closes
	return err
}
