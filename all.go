package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// registerAll declares --all: the same question to every server, to find the one that differs.
func registerAll(o *optionSet, all *bool) {
	o.add((*toggle)(all), "all", "", "ask every server, and every address of a name, side by side: a result for each, the exit code of the worst; nothing but --answer replies to a server's prompts")
}

// A replica is one server, at one address, and what became of the request to it.
type replica struct {
	job            // its err is there from the beginning where the name leads nowhere
	client *client // that knows this server alone
	said   []string
	over   chan struct{}
}

// replicasOf are the addresses of a server, each a server of its own. What leads nowhere is one too,
// with the reason.
func replicasOf(ctx context.Context, c *client, srv server) (found []*replica) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	addrs, err := (&link{client: c, server: srv}).resolve(limited, new(timing))
	if err != nil && ctx.Err() != nil {
		err = interrupted(ctx)
	}
	if err != nil {
		return append(found, newReplica(c, srv, err))
	}
	distinct := addrs[:0]
	for _, addr := range addrs {
		if !slices.Contains(distinct, addr) {
			distinct = append(distinct, addr)
		}
	}
	for _, addr := range distinct {
		one := srv
		if one.addr = addr; len(distinct) > 1 {
			one.name += fmt.Sprintf(" [%s]", addr)
		}
		found = append(found, newReplica(c, one, nil))
	}
	return found
}

func newReplica(c *client, srv server, err error) *replica {
	one := *c
	one.servers = []server{srv}
	r := &replica{client: &one, over: make(chan struct{})}
	r.err, r.res.Server = err, srv.name
	return r
}

// replicas are all of HOST, in its order. Each name is resolved once.
func (inv *invocation) replicas(ctx context.Context, c *client) (all []*replica) {
	found := make([][]*replica, len(c.servers))
	sideBySide(len(found), func(i int) {
		if srv := c.servers[i]; !slices.Contains(c.servers[:i], srv) {
			found[i] = replicasOf(ctx, c, srv)
		}
	}).Wait()
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}

// maxSideBySide is how many servers are asked at a time.
const maxSideBySide = 32

// sideBySide calls do with 0 to n-1, in this order, so many of them at a time.
func sideBySide(n int, do func(i int)) *sync.WaitGroup {
	var next atomic.Int64
	all := new(sync.WaitGroup)
	for range min(n, maxSideBySide) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	return all
}

// askAll puts a request to every server, each time a new one, and shows the results in the order of the
// servers, each as soon as those before it are there. The exit code is that of the worst, which is the
// highest. Nobody can answer the prompts of many servers at a time: what --answer does not reply to
// is refused.
func (inv *invocation) askAll(ctx context.Context, keys []key, newRequest func() request) (output, error) {
	c, err := inv.client(ctx, keys)
	if err != nil {
		return nil, err
	}
	all := inv.replicas(ctx, c)
	sideBySide(len(all), func(i int) {
		r := all[i]
		defer close(r.over)
		r.res.Command, r.res.User = inv.command.name, inv.caller.user
		if r.err == nil {
			r.request, r.client.tell = newRequest(), r.hear
			(&asker{client: r.client}).ask(ctx, &r.job)
		}
	})
	worst := classGranted
	var broken error
	for _, r := range all {
		<-r.over
		r.warn(inv)
		f := r.res.conclude(r.err)
		if broken == nil { // said once, and no change of the verdict
			broken = inv.show(namedResult{&r.res}, &outlet{ctx: ctx, to: inv.std.out})
		}
		if worst = max(worst, r.class()); r.class() != classInterrupted { // said once, at the end
			inv.explain(f, &r.res, r.res.Server)
		}
	}
	return &page{ending: ending{worst.exit()}}, nil
}

// hear keeps a warning until the result is shown.
func (r *replica) hear(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

// warn says what was heard.
func (r *replica) warn(inv *invocation) {
	for _, text := range r.said {
		inv.warn("%s", naming(r.client.servers[0].name, text))
	}
}

// naming is a text with the server's name before it, unless it has that anyway.
func naming(server, text string) string {
	if strings.Contains(text, server) { // also where there is no name
		return text
	}
	return server + ": " + text
}

// A namedResult is the verdict of one of many servers.
type namedResult struct{ *result }

func (r namedResult) line() string {
	text := r.result.line()
	if text == "" {
		text = "error (" + r.class.String() + ")\n"
	}
	return r.Server + ": " + text
}

func (r namedResult) block() string {
	first, _, _ := strings.Cut(r.line(), "\n")
	return first + "\n  " + strings.ReplaceAll(strings.TrimSuffix(r.result.block(), "\n"), "\n", "\n  ") + "\n"
}

// A comparison is the table that --cmd-file makes with --all: a row for each command, a column for each
// server.
type comparison struct {
	sequence // of the rows: its output
	columns  []*column
	rows     int
	apart    int // rows in which the servers differ
}

// A column is what one server says.
type column struct {
	*replica
	asked    sequence
	answered chan *entry // in the order of the commands; closed at the end
	fault    error       // with which it ended
	shown    string      // the error that was shown last
}

// compare asks every server for every command.
func (r *rehearsal) compare(ctx context.Context, c *client, in io.Reader) (output, error) {
	within, stop := context.WithCancel(ctx)
	defer stop()
	t := &comparison{sequence: sequence{inv: r.inv}}
	t.open(ctx)
	var feeds []io.Writer
	for _, one := range r.inv.replicas(ctx, c) {
		lines, feed := io.Pipe()
		col := &column{replica: one, answered: make(chan *entry, window)} // has room for all there are
		feeds, t.columns = append(feeds, feed), append(t.columns, col)
		col.asked = sequence{inv: r.inv, parse: one.parseWith(r), show: func(_ *sequence, e *entry) { col.answered <- e },
			warn: one.hear, lenient: true, kept: true}
		go func() {
			defer close(col.answered)
			_, col.fault = col.asked.run(within, one.client, lines, rehearsalInFlight)
		}()
	}
	go feed(in, feeds)
	err := t.run(ctx)
	stop()
	worst := classGranted
	for _, col := range t.columns {
		for range col.answered { // until it has ended
		}
		col.warn(r.inv)
		if worst = max(worst, col.asked.class()); err == nil {
			err = col.fault
		}
	}
	if ctx.Err() != nil {
		worst = classInterrupted
	} else if t.rows == 0 && err == nil {
		r.inv.warn("there are no commands in %s", r.file)
	}
	return &page{ending: ending{worst.exit()}}, err
}

// parseWith makes the request of a line as r does. What leads nowhere answers it by that.
func (r *replica) parseWith(of *rehearsal) func(*entry, []byte) error {
	return func(e *entry, line []byte) error {
		e.res.Server = r.res.Server
		if err := of.parse(e, line); err != nil {
			return err
		}
		return r.err
	}
}

// feed gives all columns the same lines, half a window of them at the most at a time: with more, one
// server could wait for another that waits for these lines.
func feed(in io.Reader, columns []io.Writer) {
	_, err := io.CopyBuffer(io.MultiWriter(columns...), struct{ io.Reader }{in}, make([]byte, window))
	for _, c := range columns {
		c.(*io.PipeWriter).CloseWithError(err)
	}
}

// run shows a row as soon as all servers have answered, and lets go of its entries only then: no server
// is more than a window ahead of the others.
func (t *comparison) run(ctx context.Context) error {
	for row := t.next(); row != nil; row = t.next() {
		t.rows++
		if t.inv.output.json {
			for _, e := range row {
				if e != nil {
					showJSON(&t.sequence, e)
				}
			}
		} else {
			t.row(row)
		}
		if err := t.flush(ctx); err != nil {
			return err
		}
		for i, col := range t.columns {
			if row[i] != nil {
				col.asked.shrink(row[i])
			}
		}
	}
	if t.rows > 0 && !t.inv.output.json {
		for _, col := range t.columns {
			fmt.Fprintf(t.out, "%s: %s\n", col.res.Server, col.asked.totals())
		}
		fmt.Fprintf(t.out, "%s: the servers differ on %d\n", howMany(t.rows, "command"), t.apart)
	}
	return t.flush(ctx)
}

// next is what the servers say to the next command: nil at the end, and for one that was interrupted.
func (t *comparison) next() (row []*entry) {
	all := make([]*entry, len(t.columns))
	for i, col := range t.columns {
		if all[i] = <-col.answered; all[i] != nil {
			row = all
		}
	}
	return row
}

// row writes what all say of a command, so that a difference is seen at a glance: no verdict is none.
// Where all give the same reason it stands behind the command, else below, as errors do, of which one
// that goes on is there once.
func (t *comparison) row(answers []*entry) {
	var heading, line, text, mark, first, reason, reasons, errs string
	apart, several := false, false
	for i, col := range t.columns {
		server, word, why := col.res.Server, "-", ""
		if e := answers[i]; e != nil {
			word, why = e.verdict()
			text, mark = escape(e.text), cmp.Or(mark, e.mark())
			below := "    " + naming(server, why) + "\n"
			switch {
			case e.err != nil && why != col.shown:
				errs += below
			case e.err == nil && first == "":
				first, reason = word, why
			case e.err == nil:
				apart, several = apart || word != first, several || why != reason
			}
			if col.shown = ""; e.err != nil {
				col.shown = why
			} else if why != "" {
				reasons += below
			}
		}
		width := max(len("PASS_REPL"), len(server))
		heading += fmt.Sprintf("%-*s  ", width, server)
		line += fmt.Sprintf("%-*s  ", width, word)
	}
	if t.rows == 1 {
		fmt.Fprintln(t.out, strings.TrimSpace(heading))
	}
	if apart {
		t.apart++
		mark += "  <- the servers differ"
	}
	if !several && reason != "" {
		text += ": " + reason
	}
	if !several {
		reasons = ""
	}
	fmt.Fprintf(t.out, "%s%s%s\n%s%s", line, text, mark, reasons, errs)
}
