package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A labServer is a server on one address. Its lines, also of earlier processes, are in one file.
type labServer struct {
	lab  *lab
	name string
	addr string
	cmd  *exec.Cmd // nil while it is dead, except when it is stopped

	death   int // index of the last one
	stopped bool
	hole    *blackhole // on the address of a dead server, or nil
}

// A death is a time in which a server did not answer.
type death struct {
	server       string
	kind         string
	began, ended time.Time
}

// during reports whether the server was dead at any time of a request.
func (d *death) during(r request) bool { return !d.began.After(r.ended) && !d.ended.Before(r.began) }

// start starts the process.
func (s *labServer) start(ctx context.Context) (err error) {
	s.cmd, s.addr, err = s.lab.startProgram(ctx, s.name, "serve", "--listen", s.addr, "--user", "alice:"+password)
	return err
}

// kinds are how servers die.
var kinds = []string{"killed", "ended", "stopped", "unreachable"}

// die makes a server dead.
func (s *labServer) die(kind string) (err error) {
	switch kind {
	case "stopped": // the kernel still accepts connections
		s.stopped = true
		return s.cmd.Process.Signal(syscall.SIGSTOP)
	case "ended":
		end(s.cmd)
	default:
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	s.cmd = nil
	if kind == "unreachable" {
		s.hole, err = newBlackhole(s.addr)
	}
	return err
}

// revive brings a dead server back.
func (s *labServer) revive(ctx context.Context) error {
	if s.stopped {
		s.stopped = false
		return s.cmd.Process.Signal(syscall.SIGCONT)
	}
	if s.hole != nil {
		s.hole.close()
		s.hole = nil
	}
	return s.start(ctx)
}

func (s *labServer) close() {
	switch {
	case s.stopped:
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
		fallthrough
	case s.cmd != nil:
		end(s.cmd)
	case s.hole != nil:
		s.hole.close()
	}
}

// A blackhole is an address that drops connection requests: a socket with a full backlog.
type blackhole struct{ sockets []int }

// newBlackhole listens on addr and connects to it until no more connections are accepted.
func newBlackhole(addr string) (*blackhole, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	to, b := &syscall.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, new(blackhole)
	l, err := b.socket()
	if err == nil {
		err = errors.Join(syscall.SetsockoptInt(l, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1), syscall.Bind(l, to), syscall.Listen(l, 0))
	}
	for range 16 {
		if err != nil {
			break
		}
		if conn, dialErr := net.DialTimeout("tcp", addr, 50*time.Millisecond); dialErr != nil {
			return b, nil // the backlog is full
		} else {
			conn.Close()
		}
	}
	b.close()
	return nil, fmt.Errorf("fill the backlog of %s: %w", addr, err)
}

func (b *blackhole) socket() (int, error) {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	b.sockets = append(b.sockets, s)
	return s, nil
}

func (b *blackhole) close() {
	for _, s := range b.sockets {
		_ = syscall.Close(s)
	}
}

// busiest returns the server that was the last to print a line.
func (l *lab) busiest() *labServer {
	var last time.Time
	found := l.servers[0]
	for _, s := range l.servers {
		if info, err := os.Stat(s.lab.path(s.name) + ".out"); err == nil && info.ModTime().After(last) {
			found, last = s, info.ModTime()
		}
	}
	return found
}

// killServers lets servers die for a while, at random. At the end all live.
func (l *lab) killServers(ctx context.Context, seed int64, length time.Duration) error {
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(random.Int64N(int64(most-least)))
	}
	dead := make(map[*labServer]time.Time) // when they are to be revived
	began := time.Now()
	nextDeath := began.Add(time.Second)
	for over := false; !over; time.Sleep(20 * time.Millisecond) {
		over = time.Since(began) > length
		for _, s := range l.servers {
			if until, ok := dead[s]; ok && (over || time.Now().After(until)) {
				if err := s.revive(ctx); err != nil {
					return fmt.Errorf("revive %s: %w", s.name, err)
				}
				l.deaths[s.death].ended = time.Now()
				delete(dead, s)
			}
		}
		if over || len(dead) == len(l.servers)-1 || time.Now().Before(nextDeath) {
			continue
		}
		s, kind := l.servers[random.IntN(len(l.servers))], kinds[random.IntN(len(kinds))]
		if random.IntN(2) == 0 {
			s = l.busiest()
		}
		if _, ok := dead[s]; ok {
			continue
		}
		if kind == "stopped" && time.Since(began) < length/2 {
			kind = "killed" // a silent server ends the sharing of connections for a minute
		}
		s.death = len(l.deaths)
		l.deaths = append(l.deaths, death{server: s.name, kind: kind, began: time.Now()})
		if err := s.die(kind); err != nil {
			return fmt.Errorf("%s %s: %w", s.name, kind, err)
		}
		dead[s], nextDeath = time.Now().Add(between(time.Second/2, 8*time.Second)), time.Now().Add(between(0, 2*time.Second))
	}
	return nil
}
