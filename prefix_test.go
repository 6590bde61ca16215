package main

import "testing"

// TestCutPrefix covers the value [PREFIX=]FILE: an empty prefix stands for a value that is just a file.
func TestCutPrefix(t *testing.T) {
	t.Parallel()
	const wrong = "error"
	for _, tt := range []struct{ value, prefix, file string }{
		{"key", "", "key"},
		{"-", "", "-"},
		{"", "", ""},
		{"192.0.2.7=key", "192.0.2.7/32", "key"},
		{"192.0.2.7/24=key", "192.0.2.0/24", "key"},
		{"0.0.0.0/0=-", "0.0.0.0/0", "-"},
		{"255.255.255.255/32=/etc/ke", "255.255.255.255/32", "/etc/ke"},
		{"2001:db8::1=key", "2001:db8::1/128", "key"},
		{"2001:DB8:0::/32=a=b", "2001:db8::/32", "a=b"},
		{"::ffff:192.0.2.7=key", "192.0.2.7/32", "key"},
		{"::/0=key", "::/0", "key"},
		{"::1=", "::1/128", ""},
		{"dead=beef", "", "dead=beef"},
		{"10=key", "", "10=key"},
		{"=key", "", "=key"},
		{"fed/ab=key", "", "fed/ab=key"},
		{"/192.0.2.7=key", "", "/192.0.2.7=key"},
		{"./192.0.2.7=key", "", "./192.0.2.7=key"},
		{"/srv/env=prod/key", "", "/srv/env=prod/key"},
		{"env=prod", "", "env=prod"},
		{"localhost=key", "", "localhost=key"},
		{"192.0.2.0/24,10.0.0.1=key", "", "192.0.2.0/24,10.0.0.1=key"},
		{"fe80::1%eth0=key", "", "fe80::1%eth0=key"},
		{"2001:db8::/32 =key", "", "2001:db8::/32 =key"},
		{"192.0.2.256=key", wrong, "key"},
		{"192.0.2.0/33=key", wrong, "key"},
		{"192.0.2/24=key", wrong, "key"},
		{"2001:db8::/129=key", wrong, "key"},
		{"10/8=key", wrong, "key"},
		{"de.ad=beef", wrong, "beef"},
	} {
		before, file, found := cutPrefix(tt.value)
		if found != (tt.prefix != "") || file != tt.file {
			t.Errorf("%q is cut to %q and %q, %t", tt.value, before, file, found)
		}
		if !found {
			continue
		}
		if prefix, err := parsePrefix(before); (err != nil) != (tt.prefix == wrong) || err == nil && prefix.String() != tt.prefix {
			t.Errorf("%q has the prefix %s, %v, want %s", tt.value, prefix, err, tt.prefix)
		}
	}
}
