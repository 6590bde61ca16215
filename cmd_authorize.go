package main

import "context"

// newAuthorize declares the command authorize: may the user do this?
func newAuthorize(o *optionSet) action {
	var arguments argOptions
	var require list
	var file string
	var all bool
	arguments.register(o)
	o.add(&require, "require", "NAME=VALUE", "exit 1 unless it is in effect; repeatable")
	o.add((*text)(&file), "cmd-file", "FILE", "one command a line, # for comments, + or - in front for what is expected: a table of what the server permits; - is standard input")
	registerAll(o, &all)
	return func(ctx context.Context, inv *invocation) (output, error) {
		if file != "" {
			if len(inv.words) > 0 || len(arguments.args) > 0 || arguments.command != "" || len(require) > 0 {
				return nil, failf(classUsage, "--cmd-file goes with neither arguments nor --cmd nor --require")
			}
			f := &commandFile{inv: inv, name: file, method: arguments.method}
			if all {
				return f.runAll(ctx)
			}
			return f.run(ctx)
		}
		args, err := arguments.request(inv.words)
		if err != nil {
			return nil, err
		}
		m, err := newAuthorization(inv.request.commonFields(), arguments.method, args, require)
		if err != nil {
			return nil, err
		}
		if err := m.check(inv.request.maxRemAddr()); err != nil {
			return nil, err
		}
		secrets, err := inv.secrets(ctx)
		if err != nil {
			return nil, err
		}
		if all {
			return inv.askAll(ctx, secrets.keys, func() dialogue { each := *m; return &each })
		}
		return inv.ask(ctx, secrets.keys, m)
	}
}
