// Peer measures tacacs_plus beside github.com/nwaples/tacplus, the other TACACS+ client of Go that shares
// a connection (peer.go). All log in by PAP over one connection on loopback.
//
//	make bench                           # at the top: this and the other benchmarks
//	cd bench/peer && go run .            # this alone
//	cd bench/peer && go run . -quick     # shorter, and so less certain
//
// What is measured:
//
//	peer           the peer's client with 16 goroutines, and the peer's server
//	bench -c 16    our client with the peer's server
//	bench -c 64    our client with tacacs_plus serve
//	batch -c 64    our batch with tacacs_plus serve
//
// Every client and every server is a process of its own, with the CPU time that the kernel counts, and
// every measurement has a new server. They are interleaved for several rounds. A ratio is the median of
// the ratios of each round.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"bench/measure"
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
)

func main() {
	quick := flag.Bool("quick", false, "shorter rounds")
	switch {
	case len(os.Args) == 4 && os.Args[1] == "peer-client":
		length, err := time.ParseDuration(os.Args[3])
		if err == nil {
			err = peerClient(os.Args[2], length)
		}
		exit(err)
	case len(os.Args) == 2 && os.Args[1] == "peer-server":
		exit(peerServer())
	}
	measure.Main("peer", 10*time.Minute, func(ctx context.Context, dir string) (*measure.Report, error) {
		b := &benchmark{rounds: 5, length: 2 * time.Second, lines: 100_000, few: 10_000, many: 1_000_000, rssRuns: 3, dir: dir}
		if *quick {
			b = &benchmark{rounds: 3, length: time.Second / 2, lines: 50_000, few: 10_000, many: 200_000, rssRuns: 1, dir: dir}
		}
		return b.run(ctx)
	})
}

func exit(err error) {
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
}

type benchmark struct {
	rounds  int
	length  time.Duration // of one measurement
	lines   int           // of one run of batch
	few     int           // requests
	many    int           // requests
	rssRuns int
	dir     string
}

func (b *benchmark) program() string { return filepath.Join(b.dir, "tacacs_plus") }
func (b *benchmark) input() string   { return filepath.Join(b.dir, "lines") } // of batch

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

func (b *benchmark) run(ctx context.Context) (*measure.Report, error) {
	if err := measure.Build(ctx, "../..", ".", b.program()); err != nil {
		return nil, err
	}
	line := fmt.Sprintf(`{"command":"authenticate","user":"%s","authen_type":"pap"}`+"\n", user)
	if err := os.WriteFile(b.input(), []byte(strings.Repeat(line, b.lines)), 0o600); err != nil {
		return nil, err
	}
	rows := []struct {
		name    string
		measure func(context.Context) (sample, error)
		samples []sample
	}{
		{name: "peer", measure: b.peer},
		{name: "bench -c 16, peer's server", measure: b.benchPeer},
		{name: "bench -c 64, serve", measure: b.benchServe},
		{name: "batch -c 64, serve", measure: b.batch},
	}
	for range b.rounds {
		for i := range rows {
			s, err := rows[i].measure(ctx)
			if err == nil && s.logins == 0 {
				err = errors.New("no logins")
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rows[i].name, err)
			}
			rows[i].samples = append(rows[i].samples, s)
		}
	}
	few, many, err := b.residentSets(ctx)
	if err != nil {
		return nil, fmt.Errorf("resident set: %w", err)
	}

	fmt.Printf("PAP logins over one connection on loopback, medians of %d rounds, %s %s/%s, %d CPUs\n\n",
		b.rounds, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	fmt.Printf("%-30s %10s  %-10s %10s %10s\n", "", "logins/s", "from - to", "client CPU", "server CPU")
	for _, r := range rows {
		rates := values(r.samples, sample.rate)
		fmt.Printf("%-30s %10.0f  %3.0fk-%3.0fk  %7.2f us %7.2f us\n", r.name, measure.Median(rates), slices.Min(rates)/1000, slices.Max(rates)/1000,
			measure.Median(values(r.samples, sample.client)), measure.Median(values(r.samples, sample.server)))
	}
	fmt.Println()
	peer, same, own, batch := rows[0].samples, rows[1].samples, rows[2].samples, rows[3].samples
	ratio := func(of, to []sample, figure func(sample) float64) float64 {
		return measure.Ratio(values(of, figure), values(to, figure))
	}
	report := new(measure.Report)
	report.AtLeast("logins with the peer's server, to the peer's", ratio(same, peer, sample.rate), minSameServer, true)
	report.AtMost("client CPU with the peer's server", ratio(same, peer, sample.client), maxSameServerCPU, true)
	report.AtLeast("logins with serve, to the peer's", ratio(own, peer, sample.rate), minOwn, true)
	report.AtMost("client CPU with serve", ratio(own, peer, sample.client), maxOwnCPU, true)
	report.AtLeast("lines of batch, to logins of bench", ratio(batch, own, sample.rate), minBatch, true)
	report.AtMost(fmt.Sprintf("resident set, %d requests, MiB", b.many), many, maxRSS, true)
	report.AtMost(fmt.Sprintf("more than with %d, MiB", b.few), many-few, maxGrowth, true)
	return report, nil
}

func values(samples []sample, figure func(sample) float64) []float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, figure(s))
	}
	return values
}

// command is a process with both secrets in its environment.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{"TACACS_PLUS_KEY=" + key, "TACACS_PLUS_PWD=" + password}
	cmd.Stderr = os.Stderr
	return cmd
}

// output runs a client and returns its output and its CPU time.
func output(cmd *exec.Cmd) (string, time.Duration, error) {
	out, err := cmd.Output()
	if err != nil {
		return "", 0, fmt.Errorf("%v: %w: %s", cmd, err, out)
	}
	return string(out), cpu(cmd), nil
}

// cpu returns the CPU time of a process that has ended.
func cpu(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// peer measures the peer's client with the peer's server.
func (b *benchmark) peer(ctx context.Context) (sample, error) {
	return b.withPeerServer(ctx, func(addr string) (s sample, err error) {
		out, used, err := output(command(ctx, os.Args[0], "peer-client", addr, b.length.String()))
		if err != nil {
			return s, err
		}
		s.clientCPU = used
		_, err = fmt.Sscan(out, &s.logins, &s.seconds)
		return s, err
	})
}

// benchPeer measures our client with the peer's server.
func (b *benchmark) benchPeer(ctx context.Context) (sample, error) {
	return b.withPeerServer(ctx, func(addr string) (sample, error) { return b.bench(ctx, addr, peerInFlight) })
}

// benchServe measures our client with our server.
func (b *benchmark) benchServe(ctx context.Context) (sample, error) {
	return b.withServe(ctx, func(addr string) (sample, error) { return b.bench(ctx, addr, 64) })
}

func (b *benchmark) bench(ctx context.Context, addr string, inFlight int) (s sample, err error) {
	out, used, err := output(command(ctx, b.program(), "bench", user, addr, "-t", "pap", "-c", strconv.Itoa(inFlight), "--duration", b.length.String(), "--json"))
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

// batch measures our batch with our server. One run is too short, so it runs until the time is over.
func (b *benchmark) batch(ctx context.Context) (sample, error) {
	return b.withServe(ctx, func(addr string) (s sample, err error) {
		for s.seconds < b.length.Seconds() {
			elapsed, used, err := b.batchOnce(ctx, addr)
			if err != nil {
				return s, err
			}
			s.logins += b.lines
			s.seconds += elapsed.Seconds()
			s.clientCPU += used
		}
		return s, nil
	})
}

// batchOnce returns the time of a whole process and its CPU time.
func (b *benchmark) batchOnce(ctx context.Context, addr string) (elapsed, used time.Duration, err error) {
	in, err := os.Open(b.input())
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	cmd := command(ctx, b.program(), "batch", addr, "-c", "64")
	var summary bytes.Buffer
	cmd.Stdin, cmd.Stderr = in, &summary
	began := time.Now()
	if err := cmd.Run(); err != nil { // also if a login does not pass
		return 0, 0, fmt.Errorf("%v: %w: %s", cmd, err, summary.Bytes())
	}
	elapsed = time.Since(began)
	if !strings.Contains(summary.String(), fmt.Sprintf(" %d requests, %d granted", b.lines, b.lines)) {
		return 0, 0, fmt.Errorf("batch prints %q", summary.Bytes())
	}
	return elapsed, cpu(cmd), nil
}

// withPeerServer measures with a new server of the peer, and checks that it had one connection.
func (b *benchmark) withPeerServer(ctx context.Context, run func(addr string) (sample, error)) (s sample, err error) {
	server := command(ctx, os.Args[0], "peer-server")
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
		s, err = run(strings.TrimSpace(addr))
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

// withServe measures with a new server of ours.
func (b *benchmark) withServe(ctx context.Context, run func(addr string) (sample, error)) (sample, error) {
	server := command(ctx, b.program(), "serve", "--listen", "127.0.0.1:0", "--user", user+":"+password)
	addr, err := measure.Listen(server)
	if err != nil {
		return sample{}, err
	}
	s, err := run(addr)
	_ = server.Process.Signal(os.Interrupt)
	if waitErr := server.Wait(); err == nil && waitErr != nil && server.ProcessState.ExitCode() < 0 {
		err = waitErr // killed
	}
	s.serverCPU = cpu(server)
	return s, err
}

// residentSets returns that of bench with few and with many requests in MiB, medians of some runs.
func (b *benchmark) residentSets(ctx context.Context) (few, many float64, err error) {
	var peaks [2][]float64
	for range b.rssRuns {
		for i, n := range []int{b.few, b.many} {
			_, err := b.withServe(ctx, func(addr string) (sample, error) {
				cmd := command(ctx, b.program(), "bench", user, addr, "-t", "pap", "-c", "64", "-n", strconv.Itoa(n))
				peak, err := measure.PeakRSS(ctx, cmd)
				peaks[i] = append(peaks[i], peak)
				return sample{}, err
			})
			if err != nil {
				return 0, 0, err
			}
		}
	}
	return measure.Median(peaks[0]), measure.Median(peaks[1]), nil
}
