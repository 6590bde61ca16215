// Peer measures PAP logins over one connection: bench and batch of tacacs_plus, and the client and
// the server of github.com/nwaples/tacplus, side by side in one run on loopback. It says whether
// the limits are kept.
//
//	make bench                              # at the top: this among others
//	cd bench/peer && go run .              # this alone
//	cd bench/peer && go run . -quick       # shorter, and so less certain
//
// What the rows are:
//
//	peer           its client, 16 goroutines on one connection, with its own server
//	bench -c 16    of tacacs_plus, with the peer's server
//	bench -c 64    with tacacs_plus serve
//	batch -c 64    with tacacs_plus serve
//
// Every client and every server is a process of its own, whose CPU time the kernel counts, and
// every measurement has a new server. They take turns for several rounds; a ratio is taken within
// each round, so that what else the machine does at that time touches both sides. The medians of
// the rounds are judged. Linux only.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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
	minSameServer    = 1.2  // of logins a second on the peer's server, to the peer's
	maxSameServerCPU = 0.6  // of CPU time per login in the client, to the peer's
	minOwn           = 6.0  // of logins a second with serve, to the peer's with its server
	maxOwnCPU        = 0.15 // of CPU time per login in the client, to the peer's
	minBatch         = 0.5  // of batch's lines a second, to bench's
	maxRSS           = 24.0 // MiB of bench, however many requests
	maxGrowth        = 2.0  // MiB between few requests and many
)

const (
	user         = "alice"
	password     = "a password"
	key          = "a key of the benchmark"
	peerInFlight = 16
	timeLimit    = 5 * time.Minute // for everything
)

// A plan is how much is measured.
type plan struct {
	rounds  int
	length  time.Duration // of one measurement
	lines   int           // of one run of batch
	few     int           // requests
	many    int
	rssRuns int
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("peer: ")
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "peer-client":
		var length time.Duration
		if length, err = time.ParseDuration(os.Args[3]); err == nil {
			err = peerClient(os.Args[2], length)
		}
	case len(os.Args) == 2 && os.Args[1] == "peer-server":
		err = peerServer()
	default:
		err = compare()
	}
	if err != nil {
		log.Fatal(err)
	}
}

var errMissed = errors.New("a limit is missed")

func compare() error {
	quick := flag.Bool("quick", false, "shorter rounds")
	flag.Parse()
	p := plan{rounds: 5, length: 2 * time.Second, lines: 100_000, few: 10_000, many: 1_000_000, rssRuns: 3}
	if *quick {
		p = plan{rounds: 3, length: time.Second / 2, lines: 50_000, few: 10_000, many: 200_000, rssRuns: 1}
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "tacacs_plus-peer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := &benchmark{ctx: ctx, plan: p, self: self, ours: filepath.Join(dir, "tacacs_plus"), input: filepath.Join(dir, "lines")}
	if err := b.build(); err != nil {
		return err
	}
	line := fmt.Sprintf(`{"command":"authenticate","user":"%s","authen_type":"pap"}`+"\n", user)
	if err := os.WriteFile(b.input, []byte(strings.Repeat(line, p.lines)), 0o600); err != nil {
		return err
	}
	return b.run()
}

type benchmark struct {
	plan
	ctx   context.Context
	self  string // this program
	ours  string // tacacs_plus
	input string // of batch
}

// build makes tacacs_plus the way the Makefile does, without touching the one that may lie there.
func (b *benchmark) build() error {
	make := b.command("make", "-s", "--no-print-directory", "-C", "../..", "--eval=measured: ; $(GO_BUILD) -o $(OUT) .", "OUT="+b.ours, "measured")
	make.Env = append(os.Environ(), "MAKEFLAGS=")
	make.Stdout = os.Stderr
	if err := make.Run(); err != nil {
		return fmt.Errorf("build tacacs_plus: %w", err)
	}
	return nil
}

// A sample is one measurement.
type sample struct {
	logins    int
	seconds   float64
	clientCPU time.Duration
	serverCPU time.Duration
}

func (s sample) rate() float64   { return float64(s.logins) / s.seconds }
func (s sample) client() float64 { return micros(s.clientCPU) / float64(s.logins) }
func (s sample) server() float64 { return micros(s.serverCPU) / float64(s.logins) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (b *benchmark) run() error {
	rows := []struct {
		name    string
		measure func() (sample, error)
		samples []sample
	}{
		{name: "peer", measure: b.peer},
		{name: "bench -c 16, peer's server", measure: b.benchPeer},
		{name: "bench -c 64, serve", measure: b.benchServe},
		{name: "batch -c 64, serve", measure: b.batch},
	}
	for range b.rounds {
		for i := range rows {
			s, err := rows[i].measure()
			if err == nil && s.logins == 0 {
				err = errors.New("no logins")
			}
			if err != nil {
				return fmt.Errorf("%s: %w", rows[i].name, err)
			}
			rows[i].samples = append(rows[i].samples, s)
		}
	}
	few, many, err := b.residentSets()
	if err != nil {
		return fmt.Errorf("resident set: %w", err)
	}

	fmt.Printf("PAP logins over one connection on loopback, medians of %d rounds, %s %s/%s, %d CPUs\n\n",
		b.rounds, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	fmt.Printf("%-30s %10s  %-10s %10s %10s\n", "", "logins/s", "from - to", "client CPU", "server CPU")
	for _, r := range rows {
		rates := sorted(r.samples, sample.rate)
		fmt.Printf("%-30s %10.0f  %3.0fk-%3.0fk  %7.2f µs %7.2f µs\n", r.name, median(rates),
			rates[0]/1000, rates[len(rates)-1]/1000, median(sorted(r.samples, sample.client)), median(sorted(r.samples, sample.server)))
	}
	fmt.Printf("\n%-30s %13s %7s  %-8s\n", "", "value", "ratio", "limit")

	kept := true
	verdict := func(name, value, ratio, limit string, ok bool) {
		word := "ok"
		if !ok {
			word, kept = "MISSED", false
		}
		fmt.Printf("%-30s %13s %7s  %-8s %s\n", name, value, ratio, limit, word)
	}
	peer, same, own, batch := rows[0].samples, rows[1].samples, rows[2].samples, rows[3].samples
	atLeast := func(name string, of, to []sample, limit float64) {
		r := ratio(of, to, sample.rate)
		verdict(name, fmt.Sprintf("%.0f/s", median(sorted(of, sample.rate))), fmt.Sprintf("%.2f", r), fmt.Sprintf(">= %.2f", limit), r >= limit)
	}
	atMostCPU := func(name string, of, to []sample, limit float64) {
		r := ratio(of, to, sample.client)
		verdict(name, fmt.Sprintf("%.2f µs", median(sorted(of, sample.client))), fmt.Sprintf("%.3f", r), fmt.Sprintf("<= %.2f", limit), r <= limit)
	}
	atLeast("logins, peer's server", same, peer, minSameServer)
	atMostCPU("client CPU, peer's server", same, peer, maxSameServerCPU)
	atLeast("logins, serve", own, peer, minOwn)
	atMostCPU("client CPU, serve", own, peer, maxOwnCPU)
	atLeast("batch to bench", batch, own, minBatch)
	rss := func(name string, value, limit float64) {
		verdict(name, fmt.Sprintf("%.1f MiB", value), "", fmt.Sprintf("<= %.0f MiB", limit), value <= limit)
	}
	rss(fmt.Sprintf("resident set, %d requests", b.many), many, maxRSS)
	rss(fmt.Sprintf("more than with %d", b.few), many-few, maxGrowth)
	if !kept {
		return errMissed
	}
	return nil
}

func sorted(samples []sample, of func(sample) float64) []float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values
}

// median is of values in order.
func median(values []float64) float64 {
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// ratio is the median of the ratios of each round.
func ratio(of, to []sample, what func(sample) float64) float64 {
	var ratios []float64
	for i := range of {
		ratios = append(ratios, what(of[i])/what(to[i]))
	}
	slices.Sort(ratios)
	return median(ratios)
}

// command is a process that ends with ctx at the latest.
func (b *benchmark) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(b.ctx, name, args...)
	cmd.Env = []string{"TACACS_PLUS_KEY=" + key, "TACACS_PLUS_PWD=" + password}
	cmd.Stderr = os.Stderr
	return cmd
}

// output runs a client and returns what it prints, and its CPU time.
func output(cmd *exec.Cmd) (string, time.Duration, error) {
	out, err := cmd.Output()
	if err != nil {
		return "", 0, fmt.Errorf("%v: %w: %s", cmd, err, out)
	}
	return string(out), cpu(cmd), nil
}

// cpu is what a process that has ended took.
func cpu(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// peer is the peer's client with the peer's server.
func (b *benchmark) peer() (sample, error) {
	return b.withPeerServer(func(addr string) (s sample, err error) {
		out, used, err := output(b.command(b.self, "peer-client", addr, b.length.String()))
		if err != nil {
			return s, err
		}
		s.clientCPU = used
		_, err = fmt.Sscan(out, &s.logins, &s.seconds)
		return s, err
	})
}

// benchPeer is our client with the peer's server.
func (b *benchmark) benchPeer() (sample, error) {
	return b.withPeerServer(func(addr string) (sample, error) { return b.bench(addr, peerInFlight) })
}

// benchServe is our client with our server.
func (b *benchmark) benchServe() (sample, error) {
	return b.withServe(func(addr string) (sample, error) { return b.bench(addr, 64) })
}

func (b *benchmark) bench(addr string, inFlight int) (s sample, err error) {
	out, used, err := output(b.command(b.ours, "bench", user, addr, "-t", "pap", "-c", strconv.Itoa(inFlight), "--duration", b.length.String(), "--json"))
	if err != nil {
		return s, err
	}
	var report struct {
		Requests int
		Seconds  float64
		Status   map[string]int
		Single   bool `json:"single_connect"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return s, err
	}
	if !report.Single || report.Status["PASS"] != report.Requests {
		return s, fmt.Errorf("not every login passed over one connection: %s", out)
	}
	return sample{logins: report.Requests, seconds: report.Seconds, clientCPU: used}, nil
}

// batch is our client for many requests with our server, run again until it is time to stop: one
// run is too short for a busy machine. The time is that of the whole processes.
func (b *benchmark) batch() (sample, error) {
	return b.withServe(func(addr string) (s sample, err error) {
		for s.seconds < b.length.Seconds() {
			took, used, err := b.batchOnce(addr)
			if err != nil {
				return s, err
			}
			s.logins += b.lines
			s.seconds += took.Seconds()
			s.clientCPU += used
		}
		return s, nil
	})
}

func (b *benchmark) batchOnce(addr string) (took, used time.Duration, err error) {
	in, err := os.Open(b.input)
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	cmd := b.command(b.ours, "batch", addr, "-c", "64")
	var summary bytes.Buffer
	cmd.Stdin, cmd.Stderr = in, &summary // and standard output goes to /dev/null
	began := time.Now()
	if err := cmd.Run(); err != nil { // also where a login does not pass
		return 0, 0, fmt.Errorf("%v: %w: %s", cmd, err, summary.Bytes())
	}
	took = time.Since(began)
	if !strings.Contains(summary.String(), fmt.Sprintf(" %d requests, %d granted", b.lines, b.lines)) {
		return 0, 0, fmt.Errorf("batch says %q", summary.Bytes())
	}
	return took, cpu(cmd), nil
}

// withPeerServer measures on a new server of the peer, and insists that all came over one
// connection.
func (b *benchmark) withPeerServer(measure func(addr string) (sample, error)) (s sample, err error) {
	server := b.command(b.self, "peer-server")
	in, err := server.StdinPipe()
	if err != nil {
		return s, err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := server.Start(); err != nil {
		return s, err
	}
	var connections, logins int
	lines := bufio.NewReader(out)
	addr, err := lines.ReadString('\n')
	if err == nil {
		s, err = measure(strings.TrimSpace(addr))
	}
	in.Close()
	if err == nil {
		_, err = fmt.Fscan(lines, &connections, &logins)
	}
	if waitErr := server.Wait(); err == nil {
		err = waitErr
	}
	if err == nil && (connections != 1 || logins < s.logins) {
		err = fmt.Errorf("the server counts %d connections and %d logins, not one connection and %d", connections, logins, s.logins)
	}
	s.serverCPU = cpu(server)
	return s, err
}

// withServe measures on a new server of ours.
func (b *benchmark) withServe(measure func(addr string) (sample, error)) (s sample, err error) {
	server := b.command(b.ours, "serve", "--listen", "127.0.0.1:0", "--user", user+":"+password)
	server.Stderr = nil
	messages, err := server.StderrPipe()
	if err != nil {
		return s, err
	}
	if err := server.Start(); err != nil {
		return s, err
	}
	addr, lines := "", bufio.NewScanner(messages)
	for addr == "" && lines.Scan() {
		addr = strings.TrimPrefix(lines.Text(), "tacacs_plus: listening on ")
		if addr == lines.Text() {
			log.Print(addr) // something else
			addr = ""
		}
	}
	if addr == "" {
		err = errors.New("serve does not say where it listens")
	} else {
		s, err = measure(addr)
	}
	_ = server.Process.Signal(os.Interrupt)
	_, _ = io.Copy(os.Stderr, messages)
	if waitErr := server.Wait(); err == nil && waitErr != nil && server.ProcessState.ExitCode() < 0 {
		err = waitErr // killed; its exit code after an interrupt is its own affair
	}
	s.serverCPU = cpu(server)
	return s, err
}

// residentSets is that of bench with few and with many requests, in MiB, medians of some runs.
func (b *benchmark) residentSets() (few, many float64, err error) {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return 0, 0, fmt.Errorf("become a subreaper: %w", errno)
	}
	var sets [2][]float64
	for range b.rssRuns {
		for i, n := range []int{b.few, b.many} {
			_, err := b.withServe(func(addr string) (s sample, err error) {
				rss, err := b.residentSet("bench", user, addr, "-t", "pap", "-c", "64", "-n", strconv.Itoa(n))
				sets[i] = append(sets[i], rss)
				return s, err
			})
			if err != nil {
				return 0, 0, err
			}
		}
	}
	slices.Sort(sets[0])
	slices.Sort(sets[1])
	return median(sets[0]), median(sets[1]), nil
}

// residentSet is the peak of one run of tacacs_plus, in MiB. A process inherits the peak of the
// one that starts it, here a larger one, so a small shell does that, and leaves the program behind
// at once; the kernel then gives it to this process as its child.
func (b *benchmark) residentSet(args ...string) (float64, error) {
	out, err := b.command("/bin/sh", append([]string{"-c", `"$0" "$@" >/dev/null & echo $!`, b.ours}, args...)...).Output()
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
	state, err := process.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("bench: %v", state)
	}
	if err != nil {
		return 0, err
	}
	return float64(state.SysUsage().(*syscall.Rusage).Maxrss) / 1024, nil
}
