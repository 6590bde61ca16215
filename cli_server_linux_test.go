package main

import "testing"

// TestServerInterface: without the device there is no connection.
func TestServerInterface(t *testing.T) {
	t.Parallel()
	l := listen(t)
	got := runWith(t, secretsInEnv, "", "authenticate", "alice", l.Addr().String(), "--interface", "no-such-device")
	got.check(t, classNetwork.exit(), ``, `tacacs_plus: connect to \S+: .*\ntacacs_plus: hint: check --source and --interface.*\n`)
	checkUntouched(t, l)
}
