package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sparemx/sparemx/postfix"
	"github.com/sparemx/sparemx/probes"
)

// Host is what the local Postfix said of itself.
type Host struct {
	Instances []postfix.Instance
	Settings  []postfix.Settings // one for each of Instances; zero where it could not be had
	Own       []netip.Addr       // by which Postfix recognises itself among next hops
	Unflushed []string           // backed-up domains for which "postqueue -s" does not work
	Notes     []string           // what could not be found or is wrong, each with what to type
}

// Lifetime returns the shortest maximal_queue_lifetime of the instances, 0 when it is not known.
func (h *Host) Lifetime() time.Duration {
	var least time.Duration
	for _, s := range h.Settings {
		if s.Lifetime > 0 && (least == 0 || s.Lifetime < least) {
			least = s.Lifetime
		}
	}
	return least
}

// First returns the settings of the first instance that has any.
func (h *Host) First() postfix.Settings {
	for _, s := range h.Settings {
		if s.Hostname != "" {
			return s
		}
	}
	return postfix.Settings{}
}

// MailLogs returns the distinct values of maillog_file.
func (h *Host) MailLogs() []string {
	var files []string
	for _, s := range h.Settings {
		if s.MaillogFile != "" && !slices.Contains(files, s.MaillogFile) {
			files = append(files, s.MaillogFile)
		}
	}
	return files
}

// Detect asks the local Postfix for what the configuration leaves out: the domains this host is backup MX for, their next hops, our
// name. What was set stays. The error is of a host without any Postfix that could be asked; everything less is a note.
func (c *Config) Detect(ctx context.Context, opt postfix.Options) (Host, error) {
	var h Host
	if c.Mode == "" {
		c.Mode = Postfix
	}
	opt.ConfigDirs = append(opt.ConfigDirs, c.Postfix.Config...)
	opt.OnlyThese = opt.OnlyThese || len(c.Postfix.Config) > 0
	instances, err := postfix.Detect(ctx, opt)
	if len(instances) == 0 {
		if err == nil {
			err = errors.New("no Postfix was found: install it, or give its configuration directory under postfix: { config: [...] }")
		}
		return h, err
	}
	if err != nil {
		h.note("%v", err)
	}
	set := len(c.Domains) > 0
	dns := &boundedDNS{resolver: net.DefaultResolver, each: 3 * time.Second}
	for _, inst := range instances {
		if !slices.Contains(c.Postfix.Config, inst.ConfigDir) {
			c.Postfix.Config = append(c.Postfix.Config, inst.ConfigDir)
			c.SetSource("postfix.config", "found")
		}
		h.Instances = append(h.Instances, inst)
		h.Settings = append(h.Settings, c.askInstance(ctx, &h, opt.Run, dns, inst, set))
	}
	first := h.First()
	c.fill("hostname", &c.Hostname, first.Helo, "postconf smtp_helo_name")
	c.fill("hostname", &c.Hostname, first.Hostname, "postconf myhostname")
	c.fill("probe.bind", &c.Probe.Bind, first.BindAddress, "postconf smtp_bind_address")

	for _, name := range c.Missing() {
		h.note("domain %s has no next hop: write under domains: %q: { primary: host }", name, name)
	}
	if len(c.Domains) == 0 {
		h.note("this Postfix relays for no domain: postconf -e 'relay_domains = example.org', or write domains: in a configuration file; until then only the log and the queue are shown")
	}
	return h, c.Check()
}

// askInstance reads one instance's settings into the configuration. set: domains were given in the file, and only those are ours.
func (c *Config) askInstance(ctx context.Context, h *Host, run postfix.Runner, dns postfix.DNS, inst postfix.Instance, set bool) postfix.Settings {
	conf, err := postfix.Load(ctx, run, inst)
	if err != nil {
		h.note("%v", err)
		return postfix.Settings{}
	}
	settings, err := conf.Settings()
	if err != nil {
		h.note("%v", err)
	}
	r := &postfix.Resolver{Config: conf, DNS: dns}
	if own, err := r.Own(ctx); err == nil {
		h.Own = append(h.Own, own...)
	}
	domains, findings := r.BackedUp(ctx)
	for _, f := range findings {
		if set && f.Domain != "" {
			if d, ours := c.Domains[f.Domain]; !ours || len(d.Primary) > 0 {
				continue
			}
		}
		h.note("%s: %s", f.Text, f.Remedy)
	}
	for _, d := range domains {
		mine, given := c.Domains[d.Name]
		if set && !given {
			continue
		}
		if len(mine.Primary) == 0 {
			for _, hop := range d.Route.Hops {
				if hop.Host != "" {
					mine.Primary = append(mine.Primary, probes.NextHop{Host: hop.Host, Port: hop.Port, MX: hop.MX})
				}
			}
			c.SetSource("domains."+d.Name+".primary", "postconf: "+d.Route.Source)
		}
		if c.Domains == nil {
			c.Domains = map[string]Domain{}
		}
		c.Domains[d.Name] = mine
	}
	for name := range c.Domains {
		if ok, err := conf.Flushable(ctx, name); err == nil && !ok && !slices.Contains(h.Unflushed, name) {
			h.Unflushed = append(h.Unflushed, name)
		}
	}
	slices.Sort(h.Unflushed)
	return settings
}

func (h *Host) note(format string, a ...any) { h.Notes = append(h.Notes, fmt.Sprintf(format, a...)) }

func (c *Config) fill(key string, value *string, found, from string) {
	if *value == "" && found != "" {
		*value = found
		c.SetSource(key, from)
	}
}
