package main

import (
	"fmt"
	"slices"
	"strings"
)

// A preset is what one kind of device sends at a login. docs/devices.md has the sources.
type preset struct {
	system       string
	types        string // authentication types that it has, first its default; empty if that is not known
	session      string // arguments of the authorization after the login
	level        int    // priv_lvl; 0 also if it is not known
	port         string // the field port; empty if it is not known
	endsCommands bool   // with cmd-arg=<cr>
	noCommands   bool   // it authorizes no commands
}

// presets has the presets in the order of presetNames, after one that sets nothing.
var presets = [...]preset{
	{},
	{system: "Cisco IOS, IOS XE", types: "ascii", session: "service=shell cmd*", level: 1, port: "tty1", endsCommands: true},
	{system: "Cisco NX-OS", types: "pap ascii chap mschap", session: "service=shell cmd= cisco-av-pair* shell:roles*"},
	{system: "Juniper Junos", session: "service=junos-exec", noCommands: true},
	{system: "Palo Alto PAN-OS", types: "chap pap", session: "service=PaloAlto protocol=firewall", noCommands: true},
}

var presetNames = names{1: "ios", 2: "nxos", 3: "junos", 4: "panos"}

// A presetOption is the value of --as: the index of a preset.
type presetOption uint8

func (p *presetOption) register(o *optionSet) {
	o.add(p, "as", "DEVICE", "send what such a device sends, but for the fields that options set; help devices lists them:")
}

func (p *presetOption) preset() *preset { return &presets[*p] }

func (p *presetOption) String() string { return presetNames.name(uint8(*p)) }

// Set implements flag.Value.
func (p *presetOption) Set(s string) error {
	err := presetNames.set((*uint8)(p), s)
	if meant := nearest(s, p.known()); err != nil && meant != "" {
		err = fmt.Errorf("%w: did you mean %s?", err, meant)
	}
	return err
}

func (p *presetOption) known() []string { return presetNames.known() }

// logsInWith reports whether the device has an authentication type.
func (p *preset) logsInWith(t authenType) bool {
	return p.types == "" || slices.Contains(strings.Fields(p.types), t.String())
}

// sessionArgs returns the arguments of the authorization after the login, and further ones that are given. One that is
// given replaces that of the device.
func (p *preset) sessionArgs(given []string) []string {
	args := slices.DeleteFunc(strings.Fields(p.session), func(arg string) bool {
		name, _, _, _ := splitArg(arg)
		return hasArg(given, name)
	})
	return append(args, given...)
}

// presetHelp returns the list of the presets.
func presetHelp() string {
	var b strings.Builder
	for i, name := range presetNames.known() {
		p := &presets[i+1]
		fmt.Fprintf(&b, "%-6s %-18s %s\n", name, p.system, p.session)
	}
	return b.String()
}
