package main
import ("testing";"os";"strings")
func TestZZ(t *testing.T) {
	if f := os.Getenv("ZZ"); f != "" { n := 100000; if os.Getenv("ZN") != "" { n = 1000000 }
	os.WriteFile(f, manySessions(n, testKey), 0o644); os.WriteFile(f+".key", []byte(testKey), 0o600) }
}
func TestZZrun(t *testing.T) {
	if f := os.Getenv("ZR"); f != "" { for range 20 { _ = runWith(t, nil, "", strings.Fields("decode -q "+f+" --key-file "+f+".key")...) } }
}
