package main
import ("testing";"fmt";"context";"os";"io";"strings")
func TestZZProf(t *testing.T) {
	if os.Getenv("ZZ") == "" { t.Skip() }
	s := startProc(t)
	r := serving(t, io.Discard, relayArgs(t, s, strings.Fields(os.Getenv("ZZR")))...)
	args := append([]string{"bench","alice",r.addr,"-k",deviceKey}, strings.Fields(os.Getenv("ZZ"))...)
	var out strings.Builder
	run(context.Background(), args, stdio{in: strings.NewReader(""), out: &out, err: &out, env: func(n string) string { return secretsInEnv[n]}})
	fmt.Println(out.String())
}
func startProc(t *testing.T) string {
	s := serving(t, io.Discard, "serve", "--listen", "127.0.0.1:0", "--user", "alice:"+testPassword)
	return s.addr
}
