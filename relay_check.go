package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A relayPlan is what would run, in JSON.
type relayPlan struct {
	Listen      []string            `json:"listen,omitempty"`
	ListenTLS   []string            `json:"listen_tls,omitempty"`
	Certificate string              `json:"certificate,omitempty"` // for devices
	NotAfter    string              `json:"not_after,omitempty"`   // of that
	Devices     map[string][]string `json:"devices,omitempty"`     // files of keys by the prefix of the addresses, or "others"
	Servers     []*serverPlan       `json:"servers"`
	Timeout     string              `json:"timeout"`
	Connect     string              `json:"connect_timeout"`
	Retries     int                 `json:"retries"`
	DeadTime    string              `json:"dead_time"`
	Options     map[string]string   `json:"options"` // that are set
}

// A serverPlan is how a server is reached.
type serverPlan struct {
	Server     string       `json:"server"`
	Addresses  []netip.Addr `json:"addresses"`
	Protection string       `json:"protection"`
	Key        string       `json:"key,omitempty"`       // its file
	NotAfter   string       `json:"not_after,omitempty"` // of the relay's own certificate
}

// describe implements --check-config: it reads everything, tries what the relay writes, and returns what would run.
func (opts *relayOptions) describe(ctx context.Context, inv *invocation) (output, error) {
	set, lines := inv.setOptions()
	config, err := opts.prepare(ctx, inv, newListener())
	if err == nil {
		err = opts.tryFiles(ctx)
	}
	if err != nil {
		return nil, err
	}
	c := config.lone
	p := &relayPlan{Listen: opts.listen, ListenTLS: opts.listenTLS, Timeout: c.timeout.String(), Connect: c.failoverTimeout.String(),
		Retries: c.retries, DeadTime: opts.deadTime.String(), Options: set}
	var b strings.Builder
	for _, addr := range opts.listen {
		fmt.Fprintf(&b, "listen on %s\n", addr)
	}
	if config.tls != nil {
		p.Certificate, p.NotAfter = opts.cert, expiryOf(config.tls.current.Load().config.Certificates[0].Leaf)
	}
	for _, addr := range opts.listenTLS {
		fmt.Fprintf(&b, "listen for TLS on %s, certificate of %s valid until %s\n", addr, p.Certificate, p.NotAfter)
	}
	p.addDevices(&b, config.keys)
	for _, srv := range c.servers {
		p.Servers = append(p.Servers, config.plan(&b, srv, config.addresses(ctx, srv, inv.printWarning)))
	}
	fmt.Fprintf(&b, "timeout %s, connect timeout %s, retries %d, dead time %s\n%s", p.Timeout, p.Connect, p.Retries, p.DeadTime, lines)
	if ctx.Err() != nil {
		return nil, interrupted(ctx)
	}
	return &page{text: b.String(), object: p}, nil
}

// setOptions returns the values of the options that are set, and lines with them. Those of secrets and lists of servers are
// not shown.
func (inv *invocation) setOptions() (set map[string]string, lines string) {
	set = make(map[string]string)
	var b strings.Builder
	for _, o := range inv.options.options {
		if o.given && o.long != "check-config" {
			set[o.long] = cmp.Or(o.value.String(), "(not shown)")
			fmt.Fprintf(&b, "option --%s %s\n", o.long, escape(set[o.long]))
		}
	}
	return set, b.String()
}

// addDevices adds the keys of the devices, those of the most devices last.
func (p *relayPlan) addDevices(b *strings.Builder, keys clientKeys) {
	p.Devices = make(map[string][]string)
	var lines []string
	for prefix, candidates := range keys {
		name, who := "others", "other devices"
		if prefix.IsValid() {
			name = prefix.String()
			who = "devices in " + name
		} else if len(keys) == 1 {
			who = "devices"
		}
		for _, k := range candidates {
			p.Devices[name] = append(p.Devices[name], k.source)
		}
		lines = append(lines, fmt.Sprintf("%s: %s %s\n", who, choose(len(candidates) == 1, "key from", "one of the keys from"), strings.Join(p.Devices[name], ", ")))
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
}

// plan returns how a server at one of the addresses is reached, and adds a line with that.
func (c *relayConfig) plan(b *strings.Builder, srv server, addrs []netip.Addr) *serverPlan {
	p := &serverPlan{Server: srv.name, Addresses: addrs}
	var how protection
	var text string
	switch own := c.lone.tls.ownCertificate(); {
	case srv.tls && own != nil:
		p.NotAfter = expiryOf(own)
		how, text = protectionTLS, "TLS, own certificate valid until "+p.NotAfter
	case srv.tls:
		how, text = protectionTLS, "TLS"
	case c.lone.unencrypted:
		how, text = protectionClear, "not obfuscated"
	default:
		addr := netip.IPv4Unspecified() // of a name without an address
		if len(addrs) > 0 {
			addr = addrs[0]
		}
		how, text = protectionObfuscated, "no key"
		if keys := c.lone.keysFor(srv, addr); len(keys) > 0 {
			p.Key = keys[0].source
			text = "key from " + p.Key
		}
	}
	p.Protection = how.String()
	fmt.Fprintf(b, "server %s %v: %s\n", srv, addrs, text)
	return p
}

func expiryOf(cert *x509.Certificate) string { return cert.NotAfter.UTC().Format(time.RFC3339) }

// tryFiles finds why a file that the relay writes could not be opened.
func (opts *relayOptions) tryFiles(ctx context.Context) error {
	err := tryFile(ctx, opts.record, func(f *os.File) error { return new(recordFile).check(f, opts.appendRecord, false) })
	if err != nil {
		return recordError(err)
	}
	return fileError("write the metrics", tryFile(ctx, opts.metricsFile, nil))
}

// tryFile finds why a file could not be written; an empty name is none. A regular file is opened, for check, and else
// replaced: a file can be made in its folder. Nothing is changed.
func tryFile(ctx context.Context, name string, check func(*os.File) error) error {
	if name == "" {
		return nil
	}
	return interruptible(ctx, func() error {
		name, info, err := followLinks(name)
		switch {
		case err != nil, info != nil && !info.Mode().IsRegular() && !info.IsDir():
			return err
		case info == nil, check == nil && !info.IsDir():
			return tryNewFile(name)
		}
		f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		return check(f)
	})
}

// tryNewFile makes a file in the folder of a file and removes it.
func tryNewFile(name string) error {
	part := filepath.Join(filepath.Dir(name), "."+rand.Text())
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return errors.Join(f.Close(), os.Remove(part))
	}
	if failed, ok := err.(*fs.PathError); ok {
		failed.Path = name
	}
	return err
}

// addresses returns the addresses of a server. It warns if there are none.
func (c *relayConfig) addresses(ctx context.Context, srv server, warnf warnFunc) []netip.Addr {
	limited, cancel := context.WithTimeout(ctx, c.lone.timeout)
	defer cancel()
	addrs, err := c.lone.resolve(limited, srv, new(timing))
	if err != nil && ctx.Err() == nil {
		warnf(warnUnresolved, "%v", err)
	}
	return addrs
}

// warnUnresolved warns of servers whose names have no address.
func (c *relayConfig) warnUnresolved(ctx context.Context, warnf warnFunc) {
	for _, srv := range c.lone.servers {
		c.addresses(ctx, srv, warnf)
	}
}
