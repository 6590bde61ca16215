package main

import "testing"

// TestOptionSetNames: no name of an option is declared twice for a command.
func TestOptionSetNames(t *testing.T) {
	t.Parallel()
	for _, c := range commands {
		inv := newInvocation(commands, stdio{})
		if err := inv.setCommand(c.name); err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for _, o := range inv.options.options {
			for _, name := range []string{o.short, o.long} {
				if name != "" && seen[name] {
					t.Errorf("%s has two options with the name %s", c.name, name)
				}
				seen[name] = true
			}
		}
	}
}
