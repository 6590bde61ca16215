// Chaos tests tacacs_plus relay while servers die: eight devices in each mode of relay log in, authorize and
// account, and servers are killed, stopped, made unreachable and brought back at random. At any time one of
// them lives. The devices are clients of github.com/nwaples/tacplus.
//
//	cd bench/peer && go run ./chaos                    # for a minute
//	cd bench/peer && go run ./chaos -seed 7 -dir out   # deaths of the same kinds; the logs stay in out
//
// It fails if
//
//   - a device waits longer than 2 s more than once per death,
//   - a login or an authorization is not granted, although one server lived all the while,
//   - a record is in the logs of the servers twice, or
//   - a record that was answered with SUCCESS is not there.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"bench/measure"
)

const (
	serverCount = 3
	deviceCount = 8 // of each relay
	longWait    = 2 * time.Second
	startLimit  = 10 * time.Second
	key         = "a key of the chaos test"
	deviceKey   = "a key of its devices"
	password    = "a password"
)

// modes are the options of the relays.
var modes = []string{"", "--single-connect"}

func main() {
	log.SetFlags(0)
	log.SetPrefix("chaos: ")
	length := flag.Duration("length", time.Minute, "how long servers die")
	seed := flag.Int64("seed", time.Now().UnixNano(), "of the deaths")
	program := flag.String("program", "", "tacacs_plus (default: build it)")
	dir := flag.String("dir", "", "existing folder for logs (default: a temporary one)")
	flag.Parse()
	fmt.Printf("seed %d\n", *seed)
	if err := run(*length, *seed, *program, *dir); err != nil {
		log.Fatal(err)
	}
}

func run(length time.Duration, seed int64, program, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), length+2*time.Minute)
	defer cancel()
	if dir == "" {
		temporary, err := os.MkdirTemp("", "tacacs_plus-chaos-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	if program == "" {
		program = filepath.Join(dir, "tacacs_plus")
		if err := measure.Build(ctx, "../..", ".", program); err != nil {
			return err
		}
	}
	l := &lab{dir: dir, program: program}
	defer l.close()
	if err := l.start(ctx); err != nil {
		return err
	}
	var all sync.WaitGroup
	deadline := time.Now().Add(length + time.Second) // a second with all servers
	for _, d := range l.devices {
		all.Go(func() { d.run(ctx, deadline) })
	}
	err := l.killServers(ctx, seed, length)
	all.Wait()
	if err != nil {
		return err
	}
	l.close()
	return l.judge()
}

// A lab is the processes and the devices.
type lab struct {
	dir     string
	program string
	servers []*labServer
	relays  []*exec.Cmd
	devices []*device
	deaths  []death
}

// start starts servers and relays, and makes the devices.
func (l *lab) start(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(l.dir, "device.key"), []byte(deviceKey), 0o600); err != nil {
		return err
	}
	relay := []string{"relay", "--listen", "127.0.0.1:0", "--device-key-file", filepath.Join(l.dir, "device.key"), "--timeout", "2.2", "--dead-time", "2"}
	for i := range serverCount {
		s := &labServer{lab: l, name: serverName(i), addr: "127.0.0.1:0"}
		l.servers = append(l.servers, s)
		if err := s.start(ctx); err != nil {
			return err
		}
		relay = append(relay, "--host", s.addr)
	}
	for i, mode := range modes {
		cmd, addr, err := l.startProgram(ctx, fmt.Sprintf("relay%d", i+1), append(relay, strings.Fields(mode)...)...)
		if err != nil {
			return err
		}
		l.relays = append(l.relays, cmd)
		for n := range deviceCount {
			l.devices = append(l.devices, newDevice(addr, i, n))
		}
	}
	return nil
}

func serverName(i int) string { return "server" + strconv.Itoa(i+1) }

// path returns the file of a process, without its suffix.
func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// startProgram starts a command of tacacs_plus that listens. Its output is in files with its name.
func (l *lab) startProgram(ctx context.Context, name string, args ...string) (cmd *exec.Cmd, addr string, err error) {
	path := l.path(name)
	out, err := os.OpenFile(path+".out", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, "", err
	}
	defer out.Close()
	messages, err := os.Create(path + ".log")
	if err != nil {
		return nil, "", err
	}
	defer messages.Close()
	cmd = exec.CommandContext(ctx, l.program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{"TACACS_PLUS_KEY=" + key}, out, messages
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	for began := time.Now(); time.Since(began) < startLimit; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(path + ".log")
		if err != nil {
			return nil, "", err
		}
		if m := listening.FindSubmatch(text); m != nil {
			return cmd, string(m[1]), nil
		}
	}
	_ = cmd.Process.Kill()
	text, _ := os.ReadFile(path + ".log")
	return nil, "", fmt.Errorf("%s does not listen: %s%w", name, text, cmd.Wait())
}

var listening = regexp.MustCompile(`listening on (\S+)\n`)

// close ends all processes, the relays first. What is written to stdout is then complete.
func (l *lab) close() {
	for _, cmd := range l.relays {
		end(cmd)
	}
	for _, s := range l.servers {
		s.close()
	}
	l.relays, l.servers = nil, nil
}

// end ends a process, which may finish what it does.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
}

// judge prints what the devices saw, and returns an error if a requirement is not met.
func (l *lab) judge() error {
	recorded, err := l.records()
	if err != nil {
		return err
	}
	kinds := make(map[string]int)
	for _, d := range l.deaths {
		kinds[d.kind]++
	}
	fmt.Printf("%d deaths: %v\n", len(l.deaths), kinds)
	var problems []string
	for _, d := range l.devices {
		problems = append(problems, d.judge(l.deaths)...)
		for _, id := range d.confirmed {
			if recorded[id] == 0 {
				problems = append(problems, fmt.Sprintf("%s: the record %s was answered with SUCCESS, and is lost", d.name, id))
			}
		}
	}
	for id, n := range recorded {
		if n > 1 {
			problems = append(problems, fmt.Sprintf("the record %s is there %d times", id, n))
		}
	}
	for i, mode := range modes {
		var sum device
		for _, d := range l.devices[i*deviceCount : (i+1)*deviceCount] {
			sum.add(d)
		}
		fmt.Printf("relay %-16s %d logins, %d authorizations, %d records confirmed, %d not; %d failed; %d waits over %v, the longest %.1f s\n",
			mode, sum.logins, sum.authorizations, len(sum.confirmed), sum.unconfirmed, len(sum.failed), len(sum.waits), longWait, sum.longest.Seconds())
		if least := deviceCount * len(l.deaths); sum.logins < least || sum.authorizations < least || len(sum.confirmed) < least {
			problems = append(problems, "too few requests for a judgement")
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems\n%s", len(problems), strings.Join(problems[:min(len(problems), 20)], "\n"))
	}
	return nil
}

// records counts the records with each task_id in the logs of the servers.
func (l *lab) records() (map[string]int, error) {
	counts := make(map[string]int)
	for i := range serverCount {
		text, err := os.ReadFile(l.path(serverName(i)) + ".out")
		if err != nil {
			return nil, err
		}
		for _, m := range recordLine.FindAllSubmatch(text, -1) {
			counts[string(m[1])]++
		}
	}
	return counts, nil
}

var recordLine = regexp.MustCompile(`(?m) account start task_id=(\S+) .*SUCCESS$`)
