package main

import (
	"slices"
	"testing"
)

func TestArgOptionsRequest(t *testing.T) {
	for _, test := range []struct {
		name    string
		options argOptions
		words   []string
		want    []string
		err     string
	}{
		{"nothing given", argOptions{}, nil, []string{"service=shell"}, ""},
		{"--cmd", argOptions{command: " show  version "}, nil, []string{"service=shell", "cmd=show", "cmd-arg=version"}, ""},
		{"-c and words", argOptions{args: list{"service=ppp"}}, []string{"protocol=ip", "addr*"}, []string{"service=ppp", "protocol=ip", "addr*"}, ""},
		{"--cmd and more", argOptions{command: "show", args: list{"priv-lvl=1"}}, []string{"acl=2"},
			[]string{"service=shell", "cmd=show", "priv-lvl=1", "acl=2"}, ""},
		{"blank --cmd", argOptions{command: " "}, nil, nil, "--cmd is blank"},
		{"--cmd and a service", argOptions{command: "show"}, []string{"service=ppp"}, nil,
			"--cmd writes service and cmd; they cannot be given as arguments too"},
		{"--cmd and a cmd", argOptions{command: "show", args: list{"cmd*ping"}}, nil, nil,
			"--cmd writes service and cmd; they cannot be given as arguments too"},
		{"a refused word", argOptions{}, []string{"=x"}, nil, "argument =x has no name before the separator"},
		{"a refused word in --cmd", argOptions{command: "show \x01"}, nil, nil, `argument cmd-arg=\x01 is not printable US-ASCII`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.options.request(test.words)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if message != test.err || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %q, want %q, %q", got, message, test.want, test.err)
			}
		})
	}
}
