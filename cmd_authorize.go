package main

import "context"

// newAuthorize declares the command authorize: may the user do this?
func newAuthorize(o *optionSet) action {
	var arguments argOptions
	var require list
	var file string
	var all bool
	arguments.register(o)
	arguments.as.register(o)
	o.add(&require, "require", "NAME=VALUE", "exit 1 unless this argument is granted; repeatable")
	arguments.registerStrict(o)
	o.add((*text)(&file), "cmd-file", "FILE", "authorize every line of FILE and print a table; # begins a comment, + or - a command that must be permitted or denied; - is stdin")
	deadTime := addDeadTime(o)
	registerAll(o, &all)
	return func(ctx context.Context, inv *invocation) (output, error) {
		inv.server.deadTime = *deadTime
		if err := arguments.applyPreset(inv); err != nil {
			return nil, err
		}
		if file != "" {
			if len(inv.words) > 0 || len(arguments.args) > 0 || arguments.command != "" || len(require) > 0 {
				return nil, failf(classUsage, "--cmd-file cannot be used with arguments, --cmd or --require")
			}
			f := &commandFile{inv: inv, name: file, options: &arguments}
			if all {
				return f.runAll(ctx)
			}
			return f.run(ctx)
		}
		args, err := arguments.request(inv.words)
		if err != nil {
			return nil, err
		}
		m, err := arguments.authorization(&inv.request, args, require)
		if err != nil {
			return nil, err
		}
		c, _, err := inv.newClient(ctx)
		if err != nil {
			return nil, err
		}
		if all {
			return inv.askAll(ctx, c, func() *job { each := *m; return &job{request: &each} }), nil
		}
		return inv.ask(ctx, c, &job{request: m})
	}
}
