package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A deadTest is a memory of the servers A, B and C, with a fake connect, in the time of synctest.
type deadTest struct {
	*deadServers
	servers  []server
	mu       sync.Mutex
	down     map[string]bool // servers to which the background connect fails
	connects []string        // of the background, in order
	changes  string
	during   func() // called by each background connect
}

var errDown = errors.New("down")

// withDeadServers calls test in a synctest bubble, and then ends the run.
func withDeadServers(t *testing.T, names string, test func(t *testing.T, d *deadTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer end()
		d := &deadTest{down: make(map[string]bool)}
		for _, name := range names {
			d.servers = append(d.servers, named(string(name)))
		}
		d.deadServers = newDeadServers(life, d.servers, 30*time.Second, func(_ context.Context, srv server) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.connects = append(d.connects, srv.host); d.during != nil {
				d.during()
			}
			if d.down[srv.host] {
				return errDown
			}
			return nil
		})
		d.changed = func(srv server, why error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.changes += map[bool]string{true: "+", false: "-"}[why == nil] + srv.host
		}
		test(t, d)
	})
}

func named(name string) server { return newServer(name, portClear) }

// silent records n missing first replies, of requests that were sent now.
func (d *deadTest) silent(name, device string, n int) {
	for range n {
		d.unanswered(named(name), device, time.Now(), errDown)
	}
}

// check compares the order of the servers, those that are skipped after a slash.
func (d *deadTest) check(t *testing.T, when, want string) {
	t.Helper()
	var tried, skipped string
	for _, srv := range d.order(d.servers) {
		if d.skips(srv) {
			skipped += srv.host
		} else {
			tried += srv.host
		}
	}
	if got := strings.TrimSuffix(tried+"/"+skipped, "/"); got != want {
		t.Errorf("%s: order %s, want %s", when, got, want)
	}
}

// set makes the background connects to a server fail, or succeed.
func (d *deadTest) set(name string, down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down[name] = down
}

// connected returns the servers that the background connected to.
func (d *deadTest) connected() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.connects, "")
}

// after lets time pass, and waits for the background.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestDeadServersConnectFailed: a server is dead as soon as connecting fails. A connect in the background after the dead
// time brings it back to its place.
func TestDeadServersConnectFailed(t *testing.T) {
	withDeadServers(t, "ABC", func(t *testing.T, d *deadTest) {
		d.check(t, "at the start", "ABC")
		d.connectFailed(named("A"), errDown)
		d.check(t, "after a failed connect", "BC/A")
		d.set("A", true)
		after(29 * time.Second)
		if got := d.connected(); got != "" {
			t.Errorf("connects before the dead time is over: %s", got)
		}
		after(time.Second)
		d.check(t, "after the first connect in the background", "BC/A")
		after(30 * time.Second)
		if got := d.connected(); got != "AA" {
			t.Errorf("connects: %s, want AA", got)
		}
		d.set("A", false)
		after(29 * time.Second)
		d.check(t, "before the third", "BC/A")
		after(time.Second)
		d.check(t, "after one that succeeded", "ABC")
		after(time.Hour)
		if got := d.connected(); got != "AAA" {
			t.Errorf("connects to a living server: %s", got)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.changes != "-A+A" {
			t.Errorf("changes: %s, want -A+A", d.changes)
		}
	})
}

// TestDeadServersSilence: a server is dead after three first replies in a row that did not come. After the connect in the
// background it is last until it has answered.
func TestDeadServersSilence(t *testing.T) {
	withDeadServers(t, "ABC", func(t *testing.T, d *deadTest) {
		d.silent("A", "", 2)
		d.answered(named("A"), time.Now())
		d.silent("A", "", 2)
		d.check(t, "two, an answer, two", "ABC")
		d.silent("A", "", 1)
		d.check(t, "three in a row", "BC/A")
		after(30 * time.Second)
		d.check(t, "after the connect in the background", "BCA")
		d.silent("A", "", 2)
		d.check(t, "two more", "BCA")
		d.connectFailed(named("B"), errDown)
		d.check(t, "with another dead one", "CA/B")
		d.answered(named("A"), time.Now())
		d.check(t, "after an answer", "AC/B")
		d.silent("A", "", 2)
		d.check(t, "two after an answer", "AC/B")
	})
}

// TestDeadServersSilenceMixed: in a list with TLS a silent server without TLS comes back to its place, since it would get no
// request after a server with TLS.
func TestDeadServersSilenceMixed(t *testing.T) {
	for tls, want := range map[string]string{"": "BCA", "A": "BCA", "B": "ABC", "ABC": "BCA"} {
		withDeadServers(t, "ABC", func(t *testing.T, d *deadTest) {
			for i := range d.servers {
				old := d.servers[i]
				d.servers[i].tls = strings.Contains(tls, old.host)
				state := d.states[old]
				delete(d.states, old)
				d.states[d.servers[i]] = state
			}
			for range deadAfter {
				d.unanswered(d.servers[0], "", time.Now(), errDown)
			}
			d.check(t, tls+" over TLS, dead", "BC/A")
			after(30 * time.Second)
			d.check(t, tls+" over TLS, connected", want)
		})
	}
}

// TestDeadServersLaterAnswer: the first reply that did not come to a request does not count if the server has answered
// one that was sent later.
func TestDeadServersLaterAnswer(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		sent := time.Now()
		after(time.Second)
		d.answered(named("A"), time.Now())
		d.answered(named("A"), sent) // slower
		after(10 * time.Second)
		for range 3 * deadAfter {
			d.unanswered(named("A"), "", sent, errDown)
		}
		d.check(t, "three that were sent before", "AB")
		for range deadAfter {
			d.unanswered(named("A"), "", sent.Add(time.Second), errDown)
		}
		d.check(t, "three that were sent with it", "B/A")
	})
}

// TestDeadServersDevices: if more than one device is connected, the first replies that make a server dead are those of
// two of them.
func TestDeadServersDevices(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		d.countDevice("one", 1)
		d.countDevice("one", 1)
		d.silent("B", "one", 3)
		d.check(t, "one device", "A/B")
		d.answered(named("B"), time.Now())
		d.countDevice("two", 1)
		d.silent("A", "one", 5)
		d.check(t, "one of two devices", "AB")
		d.silent("A", "two", 1)
		d.check(t, "both", "B/A")
		d.answered(named("A"), time.Now())
		d.silent("A", "one", 2)
		d.countDevice("two", -1)
		d.check(t, "before the third", "AB")
		d.silent("A", "one", 1)
		d.check(t, "the other one has gone", "B/A")
		d.answered(named("A"), time.Now())
		d.countDevice("two", 1)
		d.countDevice("one", -1)
		d.silent("A", "two", 2)
		d.silent("A", "one", 1)
		d.check(t, "one is still connected once", "B/A")
	})
}

// TestDeadServersLeft: a device that leaves counts as unanswered if it waited two seconds.
func TestDeadServersLeft(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		var why error
		d.changed = func(_ server, err error) { why = err }
		sent := time.Now()
		after(leftAfter - 1)
		for range deadAfter {
			d.left(named("A"), "", sent)
		}
		d.check(t, "too early", "AB")
		after(1)
		for range deadAfter {
			d.left(named("A"), "", sent)
		}
		if d.check(t, "late enough", "B/A"); fmt.Sprint(why) != "no reply from A:49 before the client left" {
			t.Errorf("the reason is %v", why)
		}
	})
}

// TestDeadServersAllDead: if all are dead, all are tried in the order of the list. An answer brings one back, but the
// others are skipped.
func TestDeadServersAllDead(t *testing.T) {
	withDeadServers(t, "ABC", func(t *testing.T, d *deadTest) {
		d.silent("B", "", 3)
		d.connectFailed(named("C"), errDown)
		d.check(t, "all but one", "A/BC")
		if !d.othersLive(named("B")) || d.othersLive(named("A")) {
			t.Error("only A lives")
		}
		d.connectFailed(named("A"), errDown)
		d.check(t, "all", "ABC")
		after(10 * time.Second)
		d.answered(named("C"), time.Now())
		d.check(t, "one has answered", "C/AB")
		d.connectFailed(named("A"), errDown) // does not put off the connect
		after(20 * time.Second)
		d.check(t, "dead time over", "ACB")
		if got := d.connected(); got != "AB" && got != "BA" {
			t.Errorf("connects: %s", got)
		}
	})
}

// TestDeadServersOneWatch: there is one background connect a server at a time, also after it died twice, and none after
// the end of the run.
func TestDeadServersOneWatch(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		d.set("A", true)
		for range 3 {
			d.connectFailed(named("A"), errDown)
			after(9 * time.Second)
			d.answered(named("A"), time.Now())
		}
		d.connectFailed(named("A"), errDown) // the first dead time is not over
		after(29 * time.Second)
		if got := d.connected(); got != "" {
			t.Errorf("connects before the last dead time is over: %s", got)
		}
		after(time.Second)
		if got := d.connected(); got != "A" {
			t.Errorf("connects: %s", got)
		}
		d.connectFailed(named("Z"), errDown) // not of this run
		d.check(t, "a foreign server", "B/A")
	})
}

// TestDeadServersAnsweredMeanwhile: a connect in the background that fails does not kill a server that has answered a
// request meanwhile.
func TestDeadServersAnsweredMeanwhile(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		d.set("A", true)
		d.during = func() { d.answered(named("A"), time.Now()) }
		d.changed = nil
		d.connectFailed(named("A"), errDown)
		after(30 * time.Second)
		if got := d.connected(); got != "A" {
			t.Errorf("connects: %s", got)
		}
		d.check(t, "after an answer and a failed connect", "AB")
	})
}

// TestDeadServersAdopt: another list keeps what is known of the servers that stay, and has a way to connect of its own.
func TestDeadServersAdopt(t *testing.T) {
	withDeadServers(t, "ABCD", func(t *testing.T, d *deadTest) {
		before := d.servers
		d.connectFailed(named("A"), errDown)
		d.connectFailed(named("B"), errDown)
		d.silent("C", "", deadAfter)
		after(30 * time.Second) // A and B live again, and C is last
		d.check(t, "before", "ABDC")
		d.connectFailed(named("A"), errDown)
		d.connectFailed(named("B"), errDown)
		d.silent("D", "", deadAfter-1)
		d.check(t, "when A and B are dead", "DC/AB")
		connects := d.connected()
		var others []string
		var mu sync.Mutex
		d.servers = []server{named("E"), named("C"), named("B"), named("D")}
		d.adopt(newDeadServers(d.life, d.servers, time.Minute, func(_ context.Context, srv server) error {
			mu.Lock()
			defer mu.Unlock()
			others = append(others, srv.host)
			return errDown
		}))
		d.check(t, "with another list", "EDC/B")
		var old string
		for _, srv := range d.order(before) {
			old += srv.host
		}
		if old != "ADCB" {
			t.Errorf("the order of the old list is %s", old)
		}
		d.silent("D", "", 1)
		d.check(t, "after the last missing reply of D", "EC/BD")
		d.connectFailed(named("A"), errDown)
		after(2 * time.Minute)
		mu.Lock()
		got := strings.Join(others, "")
		mu.Unlock()
		if got != "BDBD" || d.connected() != connects {
			t.Errorf("connects: %s, and by the old way %s, before %s", got, d.connected(), connects)
		}
		d.adopt(nil)
		d.check(t, "without a list", "ECBD")
		after(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if len(others) != len(got) {
			t.Errorf("connects to servers that have left: %s", others)
		}
	})
}

// TestDeadServersOff: without a memory nothing is skipped.
func TestDeadServersOff(t *testing.T) {
	d := newDeadServers(t.Context(), []server{named("A"), named("B")}, 0, nil)
	d.connectFailed(named("A"), errDown)
	d.unanswered(named("A"), "", time.Now(), errDown)
	d.left(named("A"), "", time.Time{})
	d.answered(named("A"), time.Now())
	d.countDevice("one", 1)
	d.countDevice("one", -1)
	if d != nil || d.skips(named("A")) || d.othersLive(named("A")) {
		t.Error("there is a memory")
	}
}
