package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	metricName = pattern(`^[a-z_]+$`)
	sampleLine = pattern(`^([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)$`)
)

// parseMetrics returns the samples of a text in the format of Prometheus, by name and labels. It fails the test if the text
// is not as strict as the format may be.
func parseMetrics(t testing.TB, text string) map[string]float64 {
	t.Helper()
	samples, families := make(map[string]float64), make(map[string]bool)
	var family, kind string
	for _, line := range strings.SplitAfter(text, "\n") {
		if line == "" {
			break
		}
		body, complete := strings.CutSuffix(line, "\n")
		if !complete {
			t.Errorf("the last line is %q", line)
		}
		if rest, is := strings.CutPrefix(body, "# HELP "); is {
			name, help, _ := strings.Cut(rest, " ")
			if kind == "" && family != "" || families[name] || !metricName().MatchString(name) || help == "" {
				t.Errorf("a family is not complete, or given twice: %q", line)
			}
			family, kind, families[name] = name, "", true
			continue
		}
		if rest, is := strings.CutPrefix(body, "# TYPE "); is {
			name, of, _ := strings.Cut(rest, " ")
			if name != family || kind != "" || (of == "counter") != strings.HasSuffix(name, "_total") {
				t.Errorf("a type without its help: %q", line)
			}
			kind = of
			continue
		}
		m := sampleLine().FindStringSubmatch(body)
		if m == nil {
			t.Errorf("not a sample: %q", line)
			continue
		}
		name := m[1]
		if kind == "histogram" {
			name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		}
		value, err := strconv.ParseFloat(m[3], 64)
		series := strings.TrimSuffix(body, " "+m[3])
		if _, twice := samples[series]; twice || err != nil || name != family || strings.HasSuffix(m[2], ",") {
			t.Errorf("a sample twice, without a value, or not in its family: %q", line)
		}
		samples[series] = value
	}
	checkHistograms(t, samples)
	if tool, err := exec.LookPath("promtool"); err == nil {
		cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool: %v\n%s", err, out)
		}
	}
	return samples
}

// checkHistograms checks that buckets are cumulative, and that their count is that of the histogram.
func checkHistograms(t testing.TB, samples map[string]float64) {
	t.Helper()
	for series, count := range samples {
		name, labels, found := strings.Cut(series, "_count{")
		if !found {
			continue
		}
		before := 0.0
		for _, limit := range strings.Fields("0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf") {
			n, exists := samples[name+"_bucket{"+strings.TrimSuffix(labels, "}")+`,le="`+limit+`"}`]
			if !exists || n < before {
				t.Errorf("the bucket %s of %s is %v after %v", limit, series, n, before)
			}
			before = n
		}
		if sum, exists := samples[name+"_sum{"+labels]; before != count || !exists || (sum > 0) != (count > 0) {
			t.Errorf("%s is %v, the last bucket %v, the sum %v", series, count, before, sum)
		}
	}
}

// readMetrics returns the samples of a file.
func readMetrics(t testing.TB, file string) map[string]float64 {
	t.Helper()
	return parseMetrics(t, string(contentOf(t, file)))
}

// checkSamples compares samples with lines "NAME VALUE"; a line "NAME -" must not exist. SERVER is the address of the server.
func checkSamples(t testing.TB, what string, samples map[string]float64, server, want string) {
	t.Helper()
	for line := range strings.Lines(want) {
		line = strings.ReplaceAll(strings.TrimSpace(line), "SERVER", `server="`+server+`"`)
		i := strings.LastIndex(line, " ")
		value, exists := samples["tacacs_relay_"+line[:i]]
		if line[i+1:] == "-" && exists || line[i+1:] != "-" && (!exists || strconv.FormatFloat(value, 'f', -1, 64) != line[i+1:]) {
			t.Errorf("%s: got %v %v, want %s", what, value, exists, line)
		}
	}
}

// TestRelayMetrics: sessions by key file, by request and status, and what happened with the server.
func TestRelayMetrics(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"old.key": "the old key of devices", "new.key": deviceKey, "unused.key": "the unused key of devices"})
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, mode := range relayModes {
		s := serveWith(t)
		file := in("relay.prom")
		r := serving(t, new(lockedBuffer), append([]string{"relay", s.addr, "--listen", "127.0.0.1:0", "--device-key-file", in("old.key"),
			"--device-key-file", in("new.key"), "--device-key-file", "192.0.2.0/24=" + in("unused.key"), "--device-key-file", "198.51.100.0/24=" + in("old.key"),
			"--metrics-file", file}, split(mode)...)...)
		checkSamples(t, "start", readMetrics(t, file), s.addr, `sessions_total{key="`+in("old.key")+`"} 0
			sessions_total{key="`+in("new.key")+`"} 0
			sessions_total{key="`+in("unused.key")+`"} 0
			device_connections 0
			server_opens_total{SERVER} 0
			server_dead{SERVER} 0
			server_reply_seconds_count{SERVER} 0`)
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o644 != 0o644 {
			t.Errorf("the mode is %v, %v", info.Mode(), err)
		}
		for _, key := range strings.Fields("old new new new") {
			env := map[string]string{"TACACS_PLUS_PWD": testPassword, "TACACS_PLUS_KEY": deviceKey}
			if key == "old" {
				env["TACACS_PLUS_KEY"] = "the old key of devices"
			}
			if got := runWith(t, env, "", split("authenticate alice AT -t pap", "AT", r.addr)...); got.code != 0 {
				t.Errorf("got %+v", got)
			}
		}
		for line, code := range map[string]exitCode{"authenticate mallory AT -t pap": 1, "authorize alice AT": 0, "account alice AT": 0, "account alice AT --task-id 1": 0} {
			if got := r.asDevice(t, line); got.code != code {
				t.Errorf("got %+v", got)
			}
		}
		r.relayed(t)
		samples := readMetrics(t, file)
		checkSamples(t, mode, samples, s.addr, `sessions_total{key="`+in("old.key")+`"} 1
			sessions_total{key="`+in("new.key")+`"} 7
			sessions_total{key="`+in("unused.key")+`"} 0
			session_status_total{request="authenticate",status="PASS"} 4
			session_status_total{request="authenticate",status="FAIL"} 1
			session_status_total{request="authorize",status="PASS_ADD"} 1
			session_status_total{request="account",status="SUCCESS"} 2
			device_connections 0
			server_failures_total{SERVER} 0
			server_timeouts_total{SERVER} 0
			server_errors_total{SERVER} 0
			server_bad_replies_total{SERVER} 0
			server_dead{SERVER} 0
			server_reply_seconds_count{SERVER} 8
			tls_not_after_seconds{option="listen-cert"} -
			server_tls_not_after_seconds{SERVER} -`)
		opens, closes := samples[`tacacs_relay_server_opens_total{server="`+s.addr+`"}`], samples[`tacacs_relay_server_closes_total{server="`+s.addr+`"}`]
		if want := map[string]float64{"": 8, "--single-connect": 1}[mode]; opens != want || closes != opens {
			t.Errorf("%s: %v opens and %v closes", mode, opens, closes)
		}
		text, _ := os.ReadFile(file)
		if strings.Contains(string(text), "alice") || strings.Contains(string(text), "mallory") {
			t.Errorf("the name of a user is in\n%s", text)
		}
		os.Remove(file)
		if t.Failed() {
			t.Logf("%s", text)
		}
	}
}

// TestRelayMetricsOfFaults: each kind of failure has its counter.
func TestRelayMetricsOfFaults(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	for _, tt := range []struct {
		fault, line                          string
		opens, failures, timeouts, errs, bad int
		status                               string
	}{
		{"refused", "authenticate alice AT -t pap", 0, 1, 0, 0, 0, "NO_REPLY"},
		{"error", "authenticate alice AT -t pap", 1, 0, 0, 1, 0, "ERROR"},
		{"fail", "authenticate alice AT -t pap", 1, 0, 0, 0, 0, "FAIL"},
		{"silent", "authenticate alice AT -t pap", 1, 0, 1, 0, 0, "NO_REPLY"},
		{"close", "account alice AT", 1, 0, 0, 0, 1, "NO_REPLY"},
		{"seq-same", "authenticate alice AT -t pap", 1, 0, 0, 0, 1, "NO_REPLY"},
		{"wrong-key", "authenticate alice AT -t pap", 1, 0, 0, 0, 1, "NO_KEY"},
		{"body-stall", "authenticate alice AT -t pap", 1, 0, 1, 0, 0, "NO_REPLY"},
		{"unencrypted", "authenticate alice AT -t pap", 1, 0, 0, 0, 1, "VIOLATION"},
	} {
		for _, mode := range relayModes {
			all.run(t, tt.timeouts > 0, tt.fault+mode, func(t *testing.T) {
				addr := ""
				if tt.fault == "refused" {
					addr = refusedAddr(t)
				} else {
					addr = serveWith(t, "--fault", tt.fault).addr
				}
				timeout := "60"
				if tt.timeouts > 0 {
					timeout = "3s"
				}
				file := filepath.Join(t.TempDir(), "relay.prom")
				r := relayTo(t, addr, append(split(mode), "--metrics-file", file, "--timeout", timeout)...)
				r.asDevice(t, tt.line+" --timeout 1m")
				r.relayed(t)
				request, _, _ := strings.Cut(tt.line, " ")
				checkSamples(t, tt.fault+" "+mode, readMetrics(t, file), addr, fmt.Sprintf(`session_status_total{request="%s",status="%s"} 1
					server_opens_total{SERVER} %d
					server_closes_total{SERVER} %d
					server_failures_total{SERVER} %d
					server_timeouts_total{SERVER} %d
					server_errors_total{SERVER} %d
					server_bad_replies_total{SERVER} %d
					server_dead{SERVER} %d`, request, tt.status, tt.opens, tt.opens, tt.failures, tt.timeouts, tt.errs, tt.bad, tt.failures))
			})
		}
	}
}

// metricsOf returns a relay with a server and keys that writes its metrics to a file.
func metricsOf(file, name string, sources ...string) *relayServer {
	r := newRelayServer()
	r.metrics = newRelayMetrics(file)
	c, keys := &client{servers: []server{newServer(name, 49), newServer(name, 49)}}, make(clientKeys)
	for _, source := range sources {
		keys[netip.Prefix{}] = append(keys[netip.Prefix{}], key{source: source})
	}
	r.metrics.watch(c, keys)
	r.config.Store(newRelayConfig(c, keys, false, nil))
	return r
}

// TestRelayMetricsInterval: the file is written at the start and every 15 s. A failure is reported once, and so is its end.
func TestRelayMetricsInterval(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "relay.prom")
	synctest.Test(t, func(t *testing.T) {
		r := metricsOf(file, "tac1", "old.key")
		var reports []string
		logf := func(format string, args ...any) { reports = append(reports, fmt.Sprintf(format, args...)) }
		must(t, r.writeMetrics(logf))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { r.runMetrics(ctx, logf); close(ended) }()
		count, written := 0.0, 0.0
		for second := range 100 {
			r.metrics.count(&sessionTracker{sessionRecord: sessionRecord{key: "old.key"}}, nil)
			count++
			switch second {
			case 40:
				must(t, os.RemoveAll(dir))
			case 80:
				must(t, os.Mkdir(dir, 0o700))
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if second%15 == 14 {
				written = count
			}
			if second < 40 || second > 90 {
				checkSamples(t, fmt.Sprint(second), readMetrics(t, file), "", fmt.Sprintf(`sessions_total{key="old.key"} %v`, written))
			}
		}
		cancel()
		<-ended
		r.endMetrics(logf)
		checkSamples(t, "end", readMetrics(t, file), "", `sessions_total{key="old.key"} 100`)
		if len(reports) != 2 || !strings.HasPrefix(reports[0], "write the metrics: ") || !strings.Contains(reports[0], "no such file") || reports[1] != "metrics are written again" {
			t.Errorf("reported %q", reports)
		}
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != 1 {
			t.Errorf("the folder has %v, %v", files, err)
		}
	})
}

// TestRelayMetricsNotWritten: a relay that cannot write the file says so and serves. One that does not start leaves the
// file alone.
func TestRelayMetricsNotWritten(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"relay.prom": "of another relay", "record.pcap": "is there"})
	r := relayTo(t, serveWith(t).addr, "--metrics-file", filepath.Join(dir, "no", "relay.prom"))
	if got := r.asDevice(t, "authenticate alice AT -t pap"); got.code != 0 || !strings.Contains(r.stderr.String(), "tacacs_plus: write the metrics: ") {
		t.Errorf("got %+v, stderr is\n%s", got, r.stderr)
	}
	file := filepath.Join(dir, "relay.prom")
	got := runWith(t, secretsInEnv, "", "relay", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--metrics-file", file, "--record", filepath.Join(dir, "record.pcap"))
	if text, err := os.ReadFile(file); got.code != 2 || err != nil || string(text) != "of another relay" {
		t.Errorf("got %+v, and the metrics are %q, %v", got, text, err)
	}
}

// TestRelayMetricsOfNumbers: numbers without a name, which a device chooses, make no series of their own.
func TestRelayMetricsOfNumbers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "relay.prom")
	r := relayTo(t, serveWith(t).addr, "--metrics-file", file)
	for action := range 8 {
		c := dialDevice(t, r)
		start := papStart("alice", testPassword)
		start.action = authenAction(100 + action)
		c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: uint32(action)}, start)
		c.receive(new(authenReply))
	}
	r.stop()
	numbers := 0
	for series := range readMetrics(t, file) {
		if strings.Contains(series, `request="other"`) {
			numbers++
		}
		if strings.Contains(series, `request="0x`) {
			t.Errorf("a series for %s", series)
		}
	}
	if numbers != 1 {
		t.Errorf("%d series for numbers", numbers)
	}
}

// TestRelayMetricsEndsWhileBlocked: the relay ends although the file cannot be written.
func TestRelayMetricsEndsWhileBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := metricsOf(filepath.Join(t.TempDir(), "relay.prom"), "tac1")
		r.metrics.writing <- struct{}{} // as by a write to a file system that does not answer
		began := time.Now()
		r.endMetrics(func(string, ...any) {})
		if took := time.Since(began); took != linesTimeout {
			t.Errorf("ended after %v", took)
		}
		<-r.metrics.writing
		synctest.Wait() // for that write
	})
}

// TestRelayMetricsLabels: names of files may have any bytes. A server that is given twice has its metrics once.
func TestRelayMetricsLabels(t *testing.T) {
	t.Parallel()
	samples := parseMetrics(t, metricsOf("relay.prom", "tac1", `a"b\c`, "new\nline", "\x1b[31m\xff", "").metricsText())
	checkSamples(t, "labels", samples, "tac1:49", `sessions_total{key="a\"b\\c"} 0
		sessions_total{key="new\nline"} 0
		sessions_total{key="`+"\x1b[31m\ufffd"+`"} 0
		sessions_total{key=""} 0
		server_opens_total{SERVER} 0`)
	if n := len(samples); n != 4+1+len(serverMetrics)+1+14+2 {
		t.Errorf("%d samples: %v", n, samples)
	}
}

// TestRelayMetricsReload: what was counted before a reload is kept. A server that is no longer used has no samples.
func TestRelayMetricsReload(t *testing.T) {
	t.Parallel()
	r := metricsOf("relay.prom", "tac1", "old.key")
	r.config.Load().lone.stats.count(newServer("tac1", 49), serverError)
	for range 3 {
		r.metrics.count(&sessionTracker{sessionRecord: sessionRecord{key: "old.key"}}, nil)
	}
	for _, servers := range [][]string{{"tac2"}, {"tac2", "tac1"}} {
		c := new(client)
		for _, name := range servers {
			c.servers = append(c.servers, newServer(name, 49))
		}
		r.metrics.watch(c, clientKeys{{}: {{source: "new.key"}}})
		r.config.Store(newRelayConfig(c, nil, false, nil))
		ofFirst := map[int]string{1: "-", 2: "1"}[len(servers)]
		checkSamples(t, fmt.Sprint(servers), parseMetrics(t, r.metricsText()), "tac1:49", `sessions_total{key="old.key"} 3
			sessions_total{key="new.key"} 0
			server_errors_total{server="tac2:49"} 0
			server_errors_total{SERVER} `+ofFirst)
	}
}

// TestRelayMetricsTLS: sessions over TLS have no key file. The expiry of each certificate is the earliest of its chain, and that
// of a changed one is written without a handshake.
func TestRelayMetricsTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newTestCA(t, dir, "ca")
	until := func(hours int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.NotAfter = time.Unix(time.Now().Unix()/3600*3600, 0).Add(time.Duration(hours) * time.Hour)
		}
	}
	at := func(hours int) string { return strconv.FormatInt(time.Now().Unix()/3600*3600+int64(hours)*3600, 10) }
	for name, hours := range map[string]int{"server": 40, "listen": 30, "own": 20, "device": 50} {
		ca.issue(t, name, int64(hours), until(hours))
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"own.pem", "listen.pem"} { // the authority is valid for longer
		leaf := contentOf(t, in(name))
		ca.write(t, name, "CERTIFICATE", ca.cert.Raw)
		authority, err := os.ReadFile(in(name))
		must(t, cmp.Or(err, os.WriteFile(in(name), append(leaf, authority...), 0o600)))
	}
	s := serveWith(t, "--tls", "--cert", in("server.pem"), "--cert-key", in("server.key"))
	line := split("relay SERVER --tls --cacert DIR/ca.pem --cert DIR/own.pem --cert-key DIR/own.key --listen-tls 127.0.0.1:0 --listen-cert DIR/listen.pem "+
		"--listen-cert-key DIR/listen.key --client-ca DIR/ca.pem --metrics-file DIR/relay.prom", "SERVER", s.addr, "DIR", dir)
	r := serving(t, new(lockedBuffer), line...)
	checkSamples(t, "start", readMetrics(t, in("relay.prom")), s.addr, `tls_not_after_seconds{option="listen-cert"} `+at(30)+`
		tls_not_after_seconds{option="cert"} `+at(20)+`
		server_tls_not_after_seconds{SERVER} -`)
	got := r.asDevice(t, "authenticate alice AT -t pap --tls --cacert "+in("ca.pem")+" --cert "+in("device.pem")+" --cert-key "+in("device.key"))
	got.check(t, 0, "PASS\n", "")
	ca.issue(t, "listen", 60, until(60))
	r.relayed(t)
	checkSamples(t, "end", readMetrics(t, in("relay.prom")), s.addr, `sessions_total{key=""} 1
		tls_not_after_seconds{option="listen-cert"} `+at(60)+`
		server_tls_not_after_seconds{SERVER} `+at(40)+`
		server_opens_total{SERVER} 1`)
}
