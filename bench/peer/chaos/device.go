package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/nwaples/tacplus"
)

// A device sends one request after the other to a relay.
type device struct {
	name   string
	id     string // in its records
	client *tacplus.Client

	logins         int
	authorizations int
	confirmed      []string // task_id of the records that were answered with SUCCESS
	unconfirmed    int
	longest        time.Duration
	waits          []request // over longWait
	failed         []request
}

// A request is one that took long or failed.
type request struct {
	what         string
	began, ended time.Time
	err          error
}

// newDevice returns the nth device of a relay, with an address of its own. Every other one uses single-connection mode.
func newDevice(relay string, mode, n int) *device {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(mode+1), byte(n+1))}}
	return &device{name: fmt.Sprintf("device %d of relay %q", n+1, modes[mode]), id: fmt.Sprintf("%d-%d", mode+1, n+1), client: &tacplus.Client{Addr: relay,
		DialContext: dialer.DialContext, ConnConfig: tacplus.ConnConfig{Mux: n%2 == 1, Secret: []byte(deviceKey), Log: func(...any) {}}}}
}

// patience is how long a device waits for a reply: as long as Cisco IOS does by default.
const patience = 5 * time.Second

// run sends requests until the deadline.
func (d *device) run(ctx context.Context, deadline time.Time) {
	defer d.client.Close()
	for n := 0; time.Now().Before(deadline) && ctx.Err() == nil; n++ {
		d.request(ctx, "login", d.login)
		d.request(ctx, "authorization", d.authorize)
		d.request(ctx, "record", func(ctx context.Context) error { return d.account(ctx, fmt.Sprintf("%s-%d", d.id, n)) })
		time.Sleep(20 * time.Millisecond)
	}
}

// request sends a request and measures how long it takes.
func (d *device) request(ctx context.Context, what string, send func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := request{what: what, began: time.Now()}
	r.err = send(ctx)
	r.ended = time.Now()
	if r.err != nil {
		d.failed = append(d.failed, r)
	}
	took := r.ended.Sub(r.began)
	d.longest = max(d.longest, took)
	if took > longWait {
		d.waits = append(d.waits, r)
	}
}

func (d *device) login(ctx context.Context) error {
	reply, _, err := d.client.SendAuthenStart(ctx, &tacplus.AuthenStart{
		Action: tacplus.AuthenActionLogin, PrivLvl: 1, AuthenType: tacplus.AuthenTypePAP, AuthenService: tacplus.AuthenServiceLogin,
		User: "alice", Port: "tty0", RemAddr: "192.0.2.1", Data: []byte(password)})
	if err == nil && reply.Status != tacplus.AuthenStatusPass {
		err = fmt.Errorf("status %d, %s", reply.Status, reply.ServerMsg)
	}
	if err == nil {
		d.logins++
	}
	return err
}

func (d *device) authorize(ctx context.Context) error {
	reply, err := d.client.SendAuthorRequest(ctx, &tacplus.AuthorRequest{
		AuthenMethod: tacplus.AuthenMethodTACACSPlus, PrivLvl: 1, AuthenType: tacplus.AuthenTypePAP, AuthenService: tacplus.AuthenServiceLogin,
		User: "alice", Port: "tty0", RemAddr: "192.0.2.1", Arg: []string{"service=shell", "cmd=show", "cmd-arg=version"}})
	if err == nil && reply.Status != tacplus.AuthorStatusPassAdd {
		err = fmt.Errorf("status %d, %s", reply.Status, reply.ServerMsg)
	}
	if err == nil {
		d.authorizations++
	}
	return err
}

// account sends a record. An ERROR is no problem: the server may have died before it confirmed the record.
func (d *device) account(ctx context.Context, id string) error {
	reply, err := d.client.SendAcctRequest(ctx, &tacplus.AcctRequest{
		Flags: tacplus.AcctFlagStart, AuthenMethod: tacplus.AuthenMethodTACACSPlus, PrivLvl: 1, AuthenType: tacplus.AuthenTypePAP,
		AuthenService: tacplus.AuthenServiceLogin, User: "alice", Port: "tty0", RemAddr: "192.0.2.1", Arg: []string{"task_id=" + id, "service=shell"}})
	switch {
	case err != nil:
		return err
	case reply.Status == tacplus.AcctStatusSuccess:
		d.confirmed = append(d.confirmed, id)
	case reply.Status == tacplus.AcctStatusError:
		d.unconfirmed++
	default:
		return fmt.Errorf("status %d, %s", reply.Status, reply.ServerMsg)
	}
	return nil
}

// judge returns the waits and the failures that no death explains. Each death explains one wait.
func (d *device) judge(deaths []death) (problems []string) {
	explained := make([]bool, len(deaths))
	for _, r := range d.waits {
		best := -1
		for i, x := range deaths {
			if !explained[i] && x.during(r) && (best < 0 || x.ended.Before(deaths[best].ended)) {
				best = i
			}
		}
		if best >= 0 {
			explained[best] = true
			continue
		}
		problems = append(problems, fmt.Sprintf("%s: a %s took %.1f s at %s, and no server had died since the last such wait",
			d.name, r.what, r.ended.Sub(r.began).Seconds(), r.began.Format(clock)))
	}
	for _, r := range d.failed {
		dead := make(map[string]bool)
		for _, x := range deaths {
			dead[x.server] = dead[x.server] || x.during(r)
		}
		for i := range serverCount {
			if !dead[serverName(i)] {
				problems = append(problems, fmt.Sprintf("%s: a %s failed at %s, although %s lived: %v", d.name, r.what, r.began.Format(clock), serverName(i), r.err))
				break
			}
		}
	}
	return problems
}

const clock = "15:04:05.000"

// add adds what another device saw.
func (d *device) add(o *device) {
	d.logins += o.logins
	d.authorizations += o.authorizations
	d.confirmed = append(d.confirmed, o.confirmed...)
	d.unconfirmed += o.unconfirmed
	d.waits = append(d.waits, o.waits...)
	d.failed = append(d.failed, o.failed...)
	d.longest = max(d.longest, o.longest)
}
