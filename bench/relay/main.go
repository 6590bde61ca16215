// Relay measures the cost of tacacs_plus relay: bench of tacacs_plus sends logins to serve, directly and
// through the relay, in cleartext and over TLS, on loopback.
//
//	make bench                           # at the top: this and the other benchmarks
//	cd bench && go run ./relay           # this alone
//	cd bench && go run ./relay -quick    # shorter, and so less certain
//
// Every program is a process of its own, and all share the same processors. The kinds of requests are
// interleaved for several rounds. A ratio is the median of the ratios of each round.
//
// On fewer than four processors the relay takes them from the client and the server, so comparisons with
// direct requests are not judged. Comparisons with a bare forwarder, which only copies bytes, are.
package main

import (
	"bufio"
	"context"
	"encoding/json"
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

	"bench/measure"
)

// The limits.
const (
	minRate         = 0.45 // of logins a second through the relay, to direct ones
	minSingle       = 0.5  // the same, with --single-connect
	minToForwarder  = 0.65 // of logins a second through the relay, to those through a bare forwarder
	maxAdded        = 150  // us by which the median of one login is longer than a direct one
	maxOfForwarder  = 75   // us by which it is longer than one through a bare forwarder
	minShared       = 5.0  // of logins a second over one shared TLS connection, to a TLS handshake each
	maxRSS          = 32.0 // MiB of the relay, with connected devices
	connected       = 500  // devices at a time
	judgeProcessors = 4    // the least number that allows a comparison with direct requests
)

const (
	password  = "a password"
	key       = "a key of the benchmark"
	deviceKey = "a key of the devices"
)

func main() {
	quick := flag.Bool("quick", false, "fewer rounds and requests")
	if len(os.Args) == 3 && os.Args[1] == "forward" {
		log.Fatal(forward(os.Args[2]))
	}
	measure.Main("relay", 15*time.Minute, func(ctx context.Context, dir string) (*measure.Report, error) {
		l := &lab{dir: dir, program: filepath.Join(dir, "tacacs_plus"), rounds: 9, scale: 4}
		if *quick {
			l.rounds, l.scale = 3, 1
		}
		defer l.close()
		return l.run(ctx)
	})
}

// A lab is the programs that are measured.
type lab struct {
	dir     string
	program string // tacacs_plus
	rounds  int
	scale   int // of the numbers of requests
	running []*exec.Cmd
}

func (l *lab) run(ctx context.Context) (*measure.Report, error) {
	if err := measure.Build(ctx, "..", ".", l.program); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(l.dir, "device"), []byte(deviceKey), 0o600); err != nil {
		return nil, err
	}
	var err error
	start := func(args ...string) (addr string) {
		if err == nil {
			addr, err = l.start(ctx, args...)
		}
		return addr
	}
	relay := func(args ...string) string {
		return start(append([]string{"relay", "--device-key-file", filepath.Join(l.dir, "device")}, args...)...)
	}
	ca := filepath.Join(l.dir, "ca.pem")
	tls := []string{"--tls", "--cacert", ca}
	server := start("serve", "--user", "alice:"+password)
	tlsServer := start("serve", "--user", "alice:"+password, "--tls", "--write-cacert", ca)
	clear := relay(server)
	single := relay(server, "--single-connect")
	toTLS := relay(append(tls, tlsServer)...)
	sharedTLS := relay(append(tls, tlsServer, "--single-connect")...)
	if err != nil {
		return nil, err
	}
	relayPID := l.running[2].Process.Pid // that of clear
	forwarder, err := l.startForwarder(ctx, server)
	if err != nil {
		return nil, err
	}

	const many, one = "-c 64", "-c 1 --no-single-connect"
	direct := &row{name: "64 in flight, direct", addr: server, args: many, n: 50_000, key: key}
	through := &row{name: "64 in flight, relay", addr: clear, args: many, n: 50_000, key: deviceKey}
	throughSingle := &row{name: "64 in flight, relay --single-connect", addr: single, args: many, n: 50_000, key: deviceKey}
	forwarded := &row{name: "64 in flight, bare forwarder", addr: forwarder, args: many, n: 50_000, key: key}
	throughToTLS := &row{name: "64 in flight, relay to TLS", addr: toTLS, args: many, n: 50_000, key: deviceKey}
	oneDirect := &row{name: "one login, direct", addr: server, args: one, n: 1000, key: key}
	oneThrough := &row{name: "one login, relay", addr: clear, args: one, n: 1000, key: deviceKey}
	oneSingle := &row{name: "one login, relay --single-connect", addr: single, args: one, n: 1000, key: deviceKey}
	oneForwarded := &row{name: "one login, bare forwarder", addr: forwarder, args: one, n: 1000, key: key}
	handshakes := &row{name: "a TLS handshake each, direct", addr: tlsServer, args: "-c 16 --no-single-connect", n: 500, tls: tls}
	shared := &row{name: "one TLS connection, relay", addr: sharedTLS, args: "-c 16 --no-single-connect", n: 2000, key: deviceKey}
	rows := []*row{direct, through, throughSingle, forwarded, throughToTLS, oneDirect, oneThrough, oneSingle, oneForwarded, handshakes, shared}
	for range l.rounds {
		for _, r := range rows {
			if err := l.bench(ctx, r); err != nil {
				return nil, err
			}
		}
	}
	fmt.Printf("PAP logins on loopback, %d rounds, %s %s/%s, %d CPUs\n\n%-38s %10s %12s\n", l.rounds,
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), "", "a second", "median")
	for _, r := range rows {
		fmt.Printf("%-38s %10.0f %9.3f ms\n", r.name, measure.Median(r.rates), measure.Median(r.medians))
	}

	for _, r := range []*row{
		{name: "one after the other", addr: clear, args: one, n: 10_000, key: deviceKey},
		{name: "at a time", addr: clear, args: fmt.Sprintf("-c %d --no-single-connect", connected), n: 10_000, key: deviceKey},
	} {
		r.n /= l.scale // bench multiplies it
		if err := l.bench(ctx, r); err != nil {
			return nil, err
		}
		fmt.Printf("%d connections %s: all logins passed\n", r.n*l.scale, r.name)
	}
	resident, err := peakOf(relayPID)
	if err != nil {
		return nil, err
	}
	fmt.Println()
	enough := runtime.NumCPU() >= judgeProcessors
	report := new(measure.Report)
	report.AtLeast("rate, to direct", ratio(through, direct), minRate, enough)
	report.AtLeast("rate with --single-connect, to direct", ratio(throughSingle, direct), minSingle, enough)
	report.AtLeast("rate to TLS, to direct in cleartext", ratio(throughToTLS, direct), minRate, enough)
	report.AtLeast("rate, to a bare forwarder's", ratio(through, forwarded), minToForwarder, true)
	report.AtMost("one login, longer than direct, us", longer(oneThrough, oneDirect), maxAdded, enough)
	report.AtMost("with --single-connect, us", longer(oneSingle, oneDirect), maxAdded, enough)
	report.AtMost("longer than by a bare forwarder, us", longer(oneThrough, oneForwarded), maxOfForwarder, true)
	report.AtLeast("rate of one TLS connection, to a handshake each", ratio(shared, handshakes), minShared, enough)
	report.AtMost(fmt.Sprintf("resident set, %d devices, MiB", connected), resident, maxRSS, true)
	return report, nil
}

// start starts a command that listens, and returns its address.
func (l *lab) start(ctx context.Context, args ...string) (string, error) {
	cmd := l.command(ctx, append(args, "--listen", "127.0.0.1:0")...)
	addr, err := measure.Listen(cmd)
	if err == nil {
		l.running = append(l.running, cmd)
	}
	return addr, err
}

// startForwarder starts this program as a forwarder to addr and returns its address.
func (l *lab) startForwarder(ctx context.Context, addr string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, self, "forward", addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	l.running = append(l.running, cmd)
	forwarder, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(forwarder), err
}

// forward copies bytes between its clients and addr. It prints its own address first.
func forward(addr string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		client, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			server, err := net.Dial("tcp", addr)
			if err == nil {
				go copyBytes(server, client)
				copyBytes(client, server)
			}
		}()
	}
}

// copyBytes copies by read and write, not by splice, until either connection ends.
func copyBytes(to, from net.Conn) {
	defer to.Close()
	_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 8<<10))
}

// command is tacacs_plus. Its stdout is /dev/null.
func (l *lab) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, l.program, args...)
	cmd.Env = []string{"TACACS_PLUS_PWD=" + password}
	if !slices.Contains(args, "--tls") {
		cmd.Env = append(cmd.Env, "TACACS_PLUS_KEY="+key)
	}
	return cmd
}

// close ends the programs.
func (l *lab) close() {
	for _, cmd := range l.running {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
}

// A row is one kind of login, and its results in each round.
type row struct {
	name, addr, args string
	key              string // of the side that listens; "" over TLS
	n                int
	tls              []string
	rates, medians   []float64 // logins a second; ms
}

// bench sends the row's logins once. All must pass.
func (l *lab) bench(ctx context.Context, r *row) error {
	n := r.n * l.scale
	args := append([]string{"bench", "alice", r.addr, "-t", "pap", "--json", "-n", fmt.Sprint(n)}, strings.Fields(r.args)...)
	if r.key == deviceKey {
		args = append(args, "--key-file", filepath.Join(l.dir, "device"))
	}
	cmd := l.command(ctx, append(args, r.tls...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", r.name, err, out)
	}
	var report struct {
		PerSecond float64            `json:"per_second"`
		Latency   map[string]float64 `json:"latency_ms"`
		Status    map[string]int
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return err
	}
	if report.Status["PASS"] != n {
		return fmt.Errorf("%s: %d of %d are PASS: %s", r.name, report.Status["PASS"], n, out)
	}
	r.rates, r.medians = append(r.rates, report.PerSecond), append(r.medians, report.Latency["p50"])
	time.Sleep(50 * time.Millisecond) // the servers close their connections
	return nil
}

// ratio is that of logins a second.
func ratio(of, to *row) float64 { return measure.Ratio(of.rates, to.rates) }

// longer is the difference of the medians in us.
func longer(of, than *row) float64 {
	return 1000 * (measure.Median(of.medians) - measure.Median(than.medians))
}

// peakOf returns the largest resident set of a running process in MiB.
func peakOf(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	var kib float64
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("VmHWM of %d: %w", pid, err)
	}
	return kib / 1024, nil
}
