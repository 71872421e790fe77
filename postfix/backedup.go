package postfix

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Domain is one domain that this host is backup MX for.
type Domain struct {
	Name  string
	Route Route
}

// Finding is something wrong or untold about the configuration.
type Finding struct {
	ID     string // stable word: "not_enumerable", "no_next_hop", "self" ...
	Domain string // "" when it is not about one
	Text   string // what is wrong
	Remedy string // one line that says what to type
}

func (f Finding) String() string { return f.Text + ": " + f.Remedy }

// probeUser is the local part that a domain's route is asked for; every primary has it (RFC 5321 section 4.5.1).
const probeUser = "postmaster@"

// BackedUp lists the domains of relay_domains that are no other class, sorted, each with its Route. It tells as much as can be
// found; what could not is among the findings. A domain with a finding "no_next_hop" is listed without a usable Route.
func (r *Resolver) BackedUp(ctx context.Context) ([]Domain, []Finding) {
	var domains []Domain
	var findings []Finding
	note := func(id, domain, text, remedy string) {
		findings = append(findings, Finding{id, domain, text, remedy})
	}
	c := r.Config
	r.mxBackup(note)
	relay, err := c.domainList("relay_domains")
	if err != nil {
		note("unreadable", "", err.Error(), "postconf -c "+c.Instance.ConfigDir+" relay_domains")
	}
	names, more := c.names(ctx, relay)
	findings = append(findings, more...)
	r = &Resolver{Config: c.prefetch(ctx, names), DNS: r.DNS}
	c = r.Config
	own, err := r.Own(ctx)
	if err != nil {
		note("own_addresses", "", "cannot tell our own addresses: "+err.Error(), "postconf inet_interfaces proxy_interfaces")
	}
	for _, name := range names {
		// An exclusion may come before the name; the first pattern that matches decides.
		if ok, _, err := c.match(ctx, relay, name); err == nil && !ok {
			continue
		}
		rt, err := r.Route(ctx, probeUser+name)
		switch {
		case rt.Class == ClassUnknown && err != nil, rt.Class == ClassRelay && err != nil:
			note("no_next_hop", name, "no next hop for "+name+": "+err.Error(),
				fmt.Sprintf("postconf -e 'transport_maps = texthash:%s/transport' and put into it: %s relay:[PRIMARY]", c.Instance.ConfigDir, name))
		case rt.Class != ClassRelay:
			// relay_domains = $mydestination, the default below compatibility_level 2, is no mistake; anything else is.
			if !strings.Contains(c.Raw("relay_domains"), "$mydestination") || rt.Class != ClassLocal {
				note("two_classes", name, fmt.Sprintf("%s is in relay_domains and in %s, which wins: it is not relayed", name, rt.Source),
					fmt.Sprintf("take it out of %s: postconf %s", rt.Source, rt.Source))
			}
			continue
		case len(rt.Hops) == 0:
			note("no_next_hop", name, fmt.Sprintf("mail for %s goes to %s:%s, which is no host to probe (%s)", name, rt.Transport, rt.NextHop, rt.Source),
				fmt.Sprintf("put into transport_maps: %s relay:[PRIMARY]", name))
		default:
			r.self(ctx, name, rt, own, note)
		}
		domains = append(domains, Domain{name, rt})
	}
	return domains, findings
}

// names are the names of a list that can be enumerated, sorted, each once.
func (c *Config) names(ctx context.Context, l list) ([]string, []Finding) {
	var names []string
	var findings []Finding
	for _, p := range l.patterns {
		if p.not {
			continue
		}
		if !isTable(p.text) {
			// ".example.org" stands for the subdomains of example.org, which have no list.
			if strings.HasPrefix(p.text, ".") {
				findings = append(findings, Finding{"not_enumerable", p.text, l.name + " has " + p.text + ", all subdomains, which cannot be listed",
					"write those that get mail under `domains:` in the configuration"})
				continue
			}
			names = append(names, strings.ToLower(strings.TrimSuffix(p.text, ".")))
			continue
		}
		keys, ok, err := c.enumerate(ctx, p.text)
		switch {
		case err != nil:
			findings = append(findings, Finding{"unreadable", "", fmt.Sprintf("%s: %s cannot be listed: %v", l.name, p.text, err),
				"let this user read it, or write the domains under `domains:` in the configuration"})
		case !ok:
			findings = append(findings, Finding{"not_enumerable", "", fmt.Sprintf("%s: a table of type %s cannot be listed", l.name, strings.SplitN(p.text, ":", 2)[0]),
				"write the domains under `domains:` in the configuration"})
		}
		for _, k := range keys {
			// Only what looks like a domain: a table may serve other parameters too.
			if k = strings.ToLower(k); !strings.ContainsAny(k, "@* \t") && !strings.HasPrefix(k, ".") && strings.Contains(k, ".") && validHost(k) {
				names = append(names, k)
			}
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "" || !validHost(n) })
	slices.Sort(names)
	return slices.Compact(names), findings
}

// mxBackup looks for permit_mx_backup in the restrictions of every service that may use it.
func (r *Resolver) mxBackup(note func(id, domain, text, remedy string)) {
	c := r.Config
	params := []string{"smtpd_relay_restrictions", "smtpd_recipient_restrictions", "smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions"}
	seen := map[string]bool{}
	look := func(parameter, value, where string) {
		if !seen[parameter] && slices.Contains(words(value), "permit_mx_backup") {
			seen[parameter] = true
			note("permit_mx_backup", "", parameter+" has permit_mx_backup"+where+": the domains this host is backup MX for are not in its configuration, and Postfix 3.9 calls it obsolete",
				"postconf -e 'relay_domains = DOMAIN, ...', take permit_mx_backup out of "+parameter+", postfix reload")
		}
	}
	for _, p := range params {
		look(p, c.Get(p), "")
	}
	for _, s := range c.Services() {
		for _, p := range params {
			if _, ok := s.Overrides[p]; ok {
				look(p, c.For(s.Name, s.Type, p), " (for "+s.Name+"/"+s.Type+" in master.cf)")
			}
		}
	}
}

// self notes next hops that are ourselves.
func (r *Resolver) self(ctx context.Context, name string, rt Route, own []netip.Addr, note func(id, domain, text, remedy string)) {
	c := r.Config
	remedy := fmt.Sprintf("put into transport_maps: %s relay:[PRIMARY]", name)
	ours := ""
	left := 0
	for _, h := range rt.Hops {
		switch why, usable := r.isSelf(ctx, h, own); {
		case why != "":
			ours = cmp.Or(ours, why)
		case usable:
			left++
		}
	}
	if ours == "" {
		return
	}
	if left == 0 {
		note("self", name, fmt.Sprintf("the next hop of %s (%s, from %s) is this host: %s", name, rt.NextHop, rt.Source, ours), remedy)
		return
	}
	note("self_among", name, fmt.Sprintf("one of the next hops of %s (%s, from %s) is this host: %s", name, rt.NextHop, rt.Source, ours),
		"take it out of "+strings.SplitN(rt.Source, " ", 2)[0]+": postconf -c "+c.Instance.ConfigDir+" "+strings.SplitN(rt.Source, " ", 2)[0])
}

// isSelf says why a hop is ourselves, "" when it is not or cannot be told.
func (r *Resolver) isSelf(ctx context.Context, h Hop, own []netip.Addr) (why string, usable bool) {
	if h.Path != "" {
		return "", true
	}
	if h.Port != 25 && !r.listens(h.Port) {
		return "", true // Postfix does not look for itself there, and nothing of this Postfix listens there
	}
	if h.MX {
		return r.selfMX(ctx, h, own)
	}
	if strings.EqualFold(strings.TrimSuffix(h.Host, "."), r.Config.Get("myhostname")) {
		return h.Host + " is myhostname", false
	}
	addrs, err := r.addresses(ctx, h.Host)
	if err != nil {
		return "", true
	}
	for _, a := range addrs {
		if contains(own, a) {
			return fmt.Sprintf("%s is %v, in inet_interfaces or proxy_interfaces", h.Host, a), false
		}
	}
	return "", true
}

func (r *Resolver) selfMX(ctx context.Context, h Hop, own []netip.Addr) (why string, usable bool) {
	if r.DNS == nil {
		return "", true
	}
	ask, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	records, err := r.DNS.LookupMX(ask, h.Host)
	if err != nil || len(records) == 0 {
		return "", true
	}
	var mx []MX
	for _, m := range records[:min(len(records), 20)] {
		addrs, err := r.addresses(ctx, m.Host)
		if err != nil {
			addrs = nil
		}
		mx = append(mx, MX{strings.TrimSuffix(m.Host, "."), m.Pref, addrs})
	}
	switch _, result := TruncateMX(mx, own); result {
	case MXBestIsSelf:
		return "it is the best MX of " + h.Host + " (mail loops back to myself)", false
	case MXNoBetter:
		return "no better MX of " + h.Host + " has an address (unable to find primary relay)", false
	}
	return "", true
}

// listens tells whether this Postfix has an smtpd or postscreen on a port.
func (r *Resolver) listens(port uint16) bool {
	for _, s := range r.Config.Services() {
		if s.Type != "inet" {
			continue
		}
		p := s.Name[strings.LastIndexByte(s.Name, ':')+1:]
		if n, err := servicePort(p); err == nil && n == port {
			return true
		}
	}
	return false
}
