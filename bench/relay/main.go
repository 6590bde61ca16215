// Relay measures what it costs that tacacs_plus relay stands between: bench of tacacs_plus asks serve, straight and
// through the relay, in clear and over TLS, side by side in one run on loopback. It says whether the limits are kept.
//
//	make bench                            # at the top: this among others
//	cd bench && go run ./relay           # this alone
//	cd bench && go run ./relay -quick    # shorter, and so less certain
//
// Every program is a process of its own, and all have the same few processors, so that the relay's work is taken from
// the other two. Straight and through take turns for several rounds; a ratio is taken within each round, so that what
// else the machine does at that time touches both sides. The medians of the rounds are judged.
//
// A third program needs a third processor: where there are fewer than four, what the relay costs is mostly that
// straight has them to itself. So a bare forwarder, which takes bytes to the server and back and does nothing else,
// goes through the same, and there the relay is judged by that. Linux only.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
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
)

// The limits.
const (
	minRate   = 0.5  // of logins a second through the relay, to without it
	minToBare = 0.65 // the same, to through a bare forwarder
	maxAdded  = 150  // us that the median of one login takes longer
	maxToBare = 75   // the same, than through a bare forwarder
	minShared = 5.0  // of logins a second through relay --single-connect to TLS, to a TLS handshake for each
	maxRSS    = 24.0 // MiB of the relay, with connected devices
	connected = 500  // devices at a time
)

const (
	password  = "a password"
	key       = "a key of the benchmark"
	deviceKey = "a key of the devices"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("relay: ")
	quick := flag.Bool("quick", false, "fewer rounds and requests")
	forward := flag.String("forward", "", "be the forwarder to this `address`, for comparison")
	flag.Parse()
	if *forward != "" {
		log.Fatal(forwardTo(*forward))
	}
	dir, err := os.MkdirTemp("", "tacacs_plus-relay-")
	if err != nil {
		log.Fatal(err)
	}
	l := &lab{dir: dir, rounds: 9, scale: 4}
	if *quick {
		l.rounds, l.scale = 3, 1
	}
	kept, err := l.measure()
	l.close()
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
	if !kept {
		os.Exit(1)
	}
}

// A lab is the programs that are under measurement.
type lab struct {
	dir     string
	rounds  int
	scale   int // of the numbers of requests
	program string
	running []*exec.Cmd
}

func (l *lab) measure() (kept bool, err error) {
	l.program = filepath.Join(l.dir, "tacacs_plus")
	build := exec.Command("make", "-s", "--no-print-directory", "--eval=measured: ; $(GO_BUILD) -o $(OUT) .", "OUT="+l.program, "measured")
	build.Dir, build.Stderr, build.Env = "..", os.Stderr, append(os.Environ(), "MAKEFLAGS=")
	if err := build.Run(); err != nil {
		return false, fmt.Errorf("%v: %w", build, err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "device"), []byte(deviceKey), 0o600); err != nil {
		return false, err
	}
	ca := filepath.Join(l.dir, "ca.pem")
	serve, _, err := l.start("serve", "--user", "alice:"+password)
	if err != nil {
		return false, err
	}
	secure, _, err := l.start("serve", "--user", "alice:"+password, "--tls", "--write-cacert", ca)
	if err != nil {
		return false, err
	}
	relay := func(args ...string) (addr string, pid int) {
		if err == nil {
			addr, pid, err = l.start(append([]string{"relay", "--device-key-file", filepath.Join(l.dir, "device")}, args...)...)
		}
		return addr, pid
	}
	tls := []string{"--tls", "--cacert", ca}
	clear, pid := relay(serve)
	bare, err := l.startForwarder(serve)
	if err != nil {
		return false, err
	}
	sharing, _ := relay(serve, "--single-connect")
	bridge, _ := relay(append(tls, secure)...)
	shared, _ := relay(append(tls, secure, "--single-connect")...)
	if err != nil {
		return false, err
	}

	rows := []*row{
		{name: "64 in flight, straight", addr: serve, args: "-c 64", n: 50_000, key: key},
		{name: "64 in flight, through", addr: clear, args: "-c 64", n: 50_000, key: deviceKey},
		{name: "64 in flight, by a bare forwarder", addr: bare, args: "-c 64", n: 50_000, key: key},
		{name: "64 in flight, through, to TLS", addr: bridge, args: "-c 64", n: 50_000, key: deviceKey},
		{name: "one login, straight", addr: serve, args: "-c 1 --no-single-connect", n: 1000, key: key},
		{name: "one login, through", addr: clear, args: "-c 1 --no-single-connect", n: 1000, key: deviceKey},
		{name: "one login, by a bare forwarder", addr: bare, args: "-c 1 --no-single-connect", n: 1000, key: key},
		{name: "one login, by --single-connect", addr: sharing, args: "-c 1 --no-single-connect", n: 1000, key: deviceKey},
		{name: "a handshake each, straight", addr: secure, args: "-c 16 --no-single-connect", n: 500, tls: tls},
		{name: "a handshake for all, through", addr: shared, args: "-c 16 --no-single-connect", n: 2000, key: deviceKey},
	}
	const straight, through, forwarded, toTLS, one, oneThrough, oneForwarded, oneSharing, handshakes, handshake = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
	for range l.rounds {
		for _, r := range rows {
			if err := l.run(r); err != nil {
				return false, err
			}
		}
	}
	fmt.Printf("PAP logins on loopback, %d rounds\n\n%-34s %12s %12s\n", l.rounds, "", "a second", "median")
	for _, r := range rows {
		fmt.Printf("%-34s %12.0f %9.3f ms\n", r.name, median(r.rates), median(r.medians))
	}
	fmt.Println()
	rate := func(of, to int) float64 { return ratio(rows[of].rates, rows[to].rates) }
	longer := func(of, to int) float64 { return 1000 * (median(rows[of].medians) - median(rows[to].medians)) }
	enough := runtime.NumCPU() >= 4
	kept = atLeast("rate through, to straight", rate(through, straight), minRate, enough)
	kept = atLeast("to a bare forwarder's", rate(through, forwarded), minToBare, true) && kept
	kept = atLeast("through to TLS, to straight in clear", rate(toTLS, straight), minRate, true) && kept
	kept = atMost("one login takes longer, us", longer(oneThrough, one), maxAdded, enough) && kept
	kept = atMost("than by a bare forwarder, us", longer(oneThrough, oneForwarded), maxToBare, true) && kept
	kept = atMost("by --single-connect longer, us", longer(oneSharing, one), maxAdded, true) && kept
	kept = atLeast("one handshake for all, to one each", rate(handshake, handshakes), minShared, true) && kept

	for _, r := range []*row{
		{name: "one after the other", addr: clear, args: "-c 1 --no-single-connect", n: 10_000, key: deviceKey},
		{name: "at a time", addr: clear, args: fmt.Sprintf("-c %d --no-single-connect", connected), n: 10_000, key: deviceKey},
	} {
		r.n /= l.scale // run multiplies it
		if err := l.run(r); err != nil {
			return false, err
		}
		fmt.Printf("%d connections %s: none lost, none wrong\n", r.n*l.scale, r.name)
	}
	rss, err := peak(pid)
	if err != nil {
		return false, err
	}
	return atMost(fmt.Sprintf("resident set, %d devices, MiB", connected), rss, maxRSS, true) && kept, nil
}

// start starts a command that listens, and returns its address.
func (l *lab) start(args ...string) (addr string, pid int, err error) {
	cmd := l.command(append(args, "--listen", "127.0.0.1:0")...)
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", 0, err
	}
	l.running = append(l.running, cmd)
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if _, found, ok := strings.Cut(lines.Text(), "listening on "); ok {
			go func() {
				for lines.Scan() { // so that it never waits for a reader
				}
			}()
			return found, cmd.Process.Pid, nil
		}
	}
	return "", 0, fmt.Errorf("%v does not listen", args)
}

// startForwarder starts this program again, as a forwarder to addr.
func (l *lab) startForwarder(addr string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(self, "-forward", addr)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", err
	}
	l.running = append(l.running, cmd)
	listens, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(listens), err
}

// forwardTo takes what comes with a connection to addr, and its answers back, and does nothing else.
func forwardTo(addr string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		from, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			to, err := net.Dial("tcp", addr)
			if err == nil {
				go carry(to, from)
				carry(from, to)
			}
		}()
	}
}

// carry takes bytes from one connection to another, until either ends.
func carry(to, from net.Conn) {
	defer to.Close()
	bytes := make([]byte, 8<<10)
	for {
		n, err := from.Read(bytes)
		if err != nil {
			return
		}
		if _, err := to.Write(bytes[:n]); err != nil {
			return
		}
	}
}

// command is the program; what it prints as its result goes to a file that nobody reads, as lines of sessions do.
func (l *lab) command(args ...string) *exec.Cmd {
	cmd := exec.Command(l.program, args...)
	cmd.Env = []string{"TACACS_PLUS_PWD=" + password}
	if !slices.Contains(args, "--tls") {
		cmd.Env = append(cmd.Env, "TACACS_PLUS_KEY="+key)
	}
	return cmd
}

// close ends what was started.
func (l *lab) close() {
	for _, cmd := range l.running {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it says nothing that matters any more
	}
}

// A row is one way of asking, and what came of it in each round.
type row struct {
	name, addr, args string
	key              string // of the side that is asked; none over TLS
	n                int
	tls              []string
	rates, medians   []float64 // a second; ms
}

// run asks once. Every login must be granted.
func (l *lab) run(r *row) error {
	n := r.n * l.scale
	args := append([]string{"bench", "alice", r.addr, "-t", "pap", "--json", "-n", fmt.Sprint(n)}, strings.Fields(r.args)...)
	if r.key == deviceKey {
		args = append(args, "--key-file", filepath.Join(l.dir, "device"))
	}
	cmd := l.command(append(args, r.tls...)...)
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
	time.Sleep(50 * time.Millisecond) // what is left of the connections ends
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// ratio is the median of the rounds' ratios.
func ratio(of, to []float64) float64 {
	var ratios []float64
	for i := range of {
		ratios = append(ratios, of[i]/to[i])
	}
	return median(ratios)
}

// atLeast and atMost compare with a limit, which is not judged where the machine is not made for it.
func atLeast(what string, value, limit float64, judged bool) bool {
	return verdict(what, value, limit, "at least", value >= limit, judged)
}

func atMost(what string, value, limit float64, judged bool) bool {
	return verdict(what, value, limit, "at most", value <= limit, judged)
}

func verdict(what string, value, limit float64, word string, kept, judged bool) bool {
	says := "PASS"
	switch {
	case !judged:
		says = fmt.Sprintf("not judged, on %d processors", runtime.NumCPU())
	case !kept:
		says = "OVER THE LIMIT"
	}
	fmt.Printf("%-36s %7.2f, %s %6.2f: %s\n", what, value, word, limit, says)
	return kept || !judged
}

// peak is the largest resident set that a process has had, in MiB.
func peak(pid int) (float64, error) {
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
