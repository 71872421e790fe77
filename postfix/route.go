package postfix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Class is the address class of a domain (ADDRESS_CLASS_README).
type Class uint8

const (
	ClassUnknown Class = iota
	ClassLocal         // mydestination, or an address of this host
	ClassAlias         // virtual_alias_domains
	ClassVirtual       // virtual_mailbox_domains
	ClassRelay         // relay_domains
	ClassDefault       // any other
)

func (c Class) String() string {
	return [...]string{"unknown", "local", "alias", "virtual", "relay", "default"}[min(c, ClassDefault)]
}

// Route is where Postfix would send mail for a recipient.
type Route struct {
	Recipient string
	Class     Class
	Transport string // the service in master.cf
	Agent     string // its program: "smtp", "lmtp", "error" ...; "" when master.cf has no such service
	NextHop   string // as handed to the delivery agent
	Hops      []Hop  // NextHop read as the agent reads it, in its order; none unless Agent is smtp or lmtp
	Fallback  []Hop  // smtp_fallback_relay of that service, after all Hops have failed
	Source    string // what decided: "transport_maps hash:/etc/postfix/transport: example.org", "relayhost", "recipient domain"
	Notes     []string
}

// DNS is what of the DNS is asked; *net.Resolver has it.
type DNS interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Resolver tells where Postfix would send mail, as trivial-rewrite(8) and the delivery agent decide it
// (trivial-rewrite/resolve.c and transport.c, smtp/smtp_connect.c).
//
// Not looked at: canonical and virtual alias rewriting, which change the recipient before it is resolved, and "%" and "!"
// routing in local parts.
type Resolver struct {
	Config *Config
	DNS    DNS // to recognise ourselves among next hops given by name; nil: only addresses and our own names are recognised
}

// Route resolves one recipient address, user@domain. An error wraps [ErrLookup] when a table could not be asked; Postfix
// would defer the mail then.
func (r *Resolver) Route(ctx context.Context, recipient string) (Route, error) {
	c := r.Config
	rt := Route{Recipient: recipient}
	at := strings.LastIndexByte(recipient, '@')
	if at < 0 || at == len(recipient)-1 {
		return rt, fmt.Errorf("%q has no domain: give user@domain", recipient)
	}
	// "Strip trailing dot at end of domain, but not dot-dot" (resolve.c).
	domain := recipient[at+1:]
	if strings.HasSuffix(domain, ".") && !strings.HasSuffix(domain, "..") {
		domain = domain[:len(domain)-1]
		recipient = recipient[:at+1] + domain
	}
	if strings.HasPrefix(domain, "[") {
		if !strings.HasSuffix(domain, "]") {
			return rt, fmt.Errorf("%q: bad address literal", recipient)
		}
	} else if !validHost(domain) {
		return rt, fmt.Errorf("%q: bad domain", recipient)
	}
	if recipient[0] == '-' && !c.Bool("allow_min_user") {
		return rt, fmt.Errorf("%q begins with a minus: Postfix bounces it (allow_min_user)", recipient)
	}

	channel, nexthop, err := r.byClass(ctx, domain, &rt)
	if err != nil {
		return rt, err
	}
	// "An explicit main.cf transport:nexthop setting overrides the nexthop."
	parameter := ""
	switch rt.Class {
	case ClassLocal:
		parameter = "local_transport"
	case ClassVirtual:
		parameter = "virtual_transport"
	case ClassRelay:
		parameter = "relay_transport"
	case ClassDefault:
		parameter = "default_transport"
	}
	if rt.Class != ClassAlias {
		var dest string
		if channel, dest, _ = strings.Cut(channel, ":"); dest != "" {
			nexthop, rt.Source = dest, parameter
		}
		if channel == "" {
			return rt, fmt.Errorf("%s has no transport: postconf -e '%s = relay'", parameter, parameter)
		}
		if channel, nexthop, err = r.byTransportMaps(ctx, recipient, domain, channel, nexthop, &rt); err != nil {
			return rt, err
		}
	}
	if err := r.byRelocated(ctx, recipient, domain, &channel, &nexthop, &rt); err != nil {
		return rt, err
	}
	rt.Transport, rt.NextHop = channel, nexthop
	return rt, r.hops(&rt)
}

// byClass is what main.cf says without the transport table.
func (r *Resolver) byClass(ctx context.Context, domain string, rt *Route) (channel, nexthop string, err error) {
	c := r.Config
	is := func(parameter string, domains bool) (bool, error) {
		l, err := c.nameList(parameter)
		if domains {
			l, err = c.domainList(parameter)
		}
		if err != nil {
			return false, fmt.Errorf("%w: %w", ErrLookup, err)
		}
		ok, _, err := c.match(ctx, l, domain)
		return ok, err
	}
	rt.Source = "recipient domain"
	local, err := is("mydestination", false)
	if err != nil {
		return "", "", err
	}
	if !local && strings.HasPrefix(domain, "[") {
		// resolve_local.c: an address literal is local when it is an address of ours.
		if a, err := literal(domain); err == nil {
			own, err := r.Own(ctx)
			if err != nil {
				return "", "", err
			}
			local = contains(own, a)
		}
	}
	if local {
		rt.Class, rt.Source = ClassLocal, "mydestination"
		return c.Get("local_transport"), domain, nil
	}
	alias, err := is("virtual_alias_domains", false)
	if err != nil {
		return "", "", err
	}
	if alias {
		rt.Class, rt.Source = ClassAlias, "virtual_alias_domains"
		return "error", "5.1.1 User unknown", nil
	}
	virtual, err := is("virtual_mailbox_domains", false)
	if err != nil {
		return "", "", err
	}
	if virtual {
		rt.Class, rt.Source = ClassVirtual, "virtual_mailbox_domains"
		return c.Get("virtual_transport"), domain, nil
	}
	relay, err := is("relay_domains", true)
	if err != nil {
		return "", "", err
	}
	rt.Class, channel = ClassDefault, c.Get("default_transport")
	if relay {
		rt.Class, channel = ClassRelay, c.Get("relay_transport")
	} else if m := c.Get("sender_dependent_default_transport_maps"); m != "" {
		rt.Notes = append(rt.Notes, "sender_dependent_default_transport_maps = "+m+": the sender may choose another transport, which cannot be told from a recipient")
	}
	if m := c.Get("sender_dependent_relayhost_maps"); m != "" {
		rt.Notes = append(rt.Notes, "sender_dependent_relayhost_maps = "+m+": the sender may choose another next hop, which cannot be told from a recipient")
	}
	if h := c.Get("relayhost"); h != "" {
		rt.Source = "relayhost"
		return channel, h, nil
	}
	return channel, domain, nil
}

// byTransportMaps is transport_lookup() of trivial-rewrite/transport.c.
func (r *Resolver) byTransportMaps(ctx context.Context, recipient, domain, channel, nexthop string, rt *Route) (string, string, error) {
	c := r.Config
	tables := tablesOf(c.Get("transport_maps"))
	if len(tables) == 0 {
		return channel, nexthop, nil
	}
	address := strings.ToLower(recipient)
	keys := []key{{address, false}}
	if s := withoutExtension(address, c.Get("recipient_delimiter")); s != "" {
		keys = append(keys, key{s, true})
	}
	name := strings.ToLower(domain)
	keys = append(keys, key{name, true})
	keys = parentKeys(keys, name, c.parentStyle("transport_maps"))
	keys = append(keys, key{"*", false})
	value, table, at, err := c.find(ctx, tables, keys)
	if err != nil {
		return "", "", fmt.Errorf("transport_maps: %w", err)
	}
	if table == "" {
		return channel, nexthop, nil
	}
	// update_entry(): ":" changes nothing, ":hop" the next hop alone, "transport[:]" resets the next hop.
	newChannel, newHop, _ := strings.Cut(value, ":")
	source := "transport_maps " + table + ": " + at
	switch {
	case newChannel == "" && newHop == "":
		return channel, nexthop, nil
	case newChannel == "":
		rt.Source = source
		return channel, newHop, nil
	}
	rt.Source = source
	switch {
	case newHop != "":
	case newChannel == "error":
		newHop = "Address is undeliverable"
	default:
		newHop = domain
	}
	return newChannel, newHop, nil
}

// byRelocated bounces recipients that have moved.
func (r *Resolver) byRelocated(ctx context.Context, recipient, domain string, channel, nexthop *string, rt *Route) error {
	tables := tablesOf(r.Config.Get("relocated_maps"))
	if len(tables) == 0 {
		return nil
	}
	// mail_addr_find(): user+ext@domain, user@domain, @domain. (The bare user of a local domain is not a backup's matter.)
	address := strings.ToLower(recipient)
	keys := []key{{address, false}}
	if s := withoutExtension(address, r.Config.Get("recipient_delimiter")); s != "" {
		keys = append(keys, key{s, true})
	}
	keys = append(keys, key{"@" + strings.ToLower(domain), true})
	value, table, at, err := r.Config.find(ctx, tables, keys)
	if err != nil {
		return fmt.Errorf("relocated_maps: %w", err)
	}
	if table != "" {
		*channel, *nexthop, rt.Source = "error", "5.1.6 User has moved to "+value, "relocated_maps "+table+": "+at
	}
	return nil
}

// hops reads the next hop as the delivery agent does.
func (r *Resolver) hops(rt *Route) error {
	c := r.Config
	s, ok := c.transport(rt.Transport)
	if !ok {
		return fmt.Errorf("master.cf has no service %q (%s): mail for %s waits in the queue until there is one: postconf -M %s/unix='%s unix - - y - - smtp' && postfix reload",
			rt.Transport, rt.Source, rt.Recipient, rt.Transport, rt.Transport)
	}
	rt.Agent = s.Program
	if s.Program != "smtp" && s.Program != "lmtp" {
		return nil
	}
	lmtp := s.Program == "lmtp"
	prefix, dest := "smtp", rt.NextHop
	service := c.For(s.Name, s.Type, "smtp_tcp_port")
	if lmtp {
		prefix = "lmtp"
		if path, ok := strings.CutPrefix(dest, "unix:"); ok {
			rt.Hops = []Hop{{Path: path}}
			return nil
		}
		dest = strings.TrimPrefix(dest, "inet:")
		service = c.For(s.Name, s.Type, "lmtp_tcp_port")
	}
	service = cmp.Or(service, prefix)
	mx := !lmtp && !c.noDNS(s)
	if v := c.For(s.Name, s.Type, prefix+"_use_srv_lookup"); v != "" { // smtp_use_srv_lookup is called use_srv_lookup (3.8)
		rt.Notes = append(rt.Notes, "use_srv_lookup = "+v+": SRV records may choose other hosts")
	} else if v := c.For(s.Name, s.Type, "use_srv_lookup"); v != "" {
		rt.Notes = append(rt.Notes, "use_srv_lookup = "+v+": SRV records may choose other hosts")
	}
	// Several destinations since Postfix 3.5; before it, the whole is one destination.
	dests := []string{dest}
	if c.Version().AtLeast(3, 5) || c.Version() == (Version{}) {
		dests = strings.FieldsFunc(dest, func(r rune) bool { return r < 128 && strings.ContainsRune(", \t\r\n", r) })
	}
	var wrong []error
	for _, d := range dests {
		h, err := parseHop(d, service, mx)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", rt.Source, err))
			continue
		}
		rt.Hops = append(rt.Hops, h)
	}
	fallback := c.For(s.Name, s.Type, prefix+"_fallback_relay")
	for _, d := range words(fallback) {
		if h, err := parseHop(d, service, mx); err != nil {
			wrong = append(wrong, fmt.Errorf("%s_fallback_relay: %w", prefix, err))
		} else {
			rt.Fallback = append(rt.Fallback, h)
		}
	}
	return errors.Join(wrong...)
}

// noDNS tells whether a delivery agent looks up no MX: smtp_dns_support_level = disabled, or, where that is empty,
// disable_dns_lookups = yes (smtp/smtp.c).
func (c *Config) noDNS(s Service) bool {
	if level := c.For(s.Name, s.Type, "smtp_dns_support_level"); level != "" {
		return strings.EqualFold(level, "disabled")
	}
	return strings.EqualFold(c.For(s.Name, s.Type, "disable_dns_lookups"), "yes")
}

// tablesOf are the tables of a *_maps parameter.
func tablesOf(value string) []string {
	var tables []string
	for _, w := range words(value) {
		if isTable(w) {
			tables = append(tables, w)
		}
	}
	return tables
}

// withoutExtension returns user@domain of user+ext@domain, "" when there is no extension (global/split_addr.c: never for
// an empty user, the reserved names, or, with the delimiter "-", owner-foo and foo-request).
func withoutExtension(address, delimiters string) string {
	at := strings.LastIndexByte(address, '@')
	if delimiters == "" || at <= 0 {
		return ""
	}
	user, domain := address[:at], address[at:]
	switch user {
	case "postmaster", "mailer-daemon", "double-bounce":
		return ""
	}
	if strings.Contains(delimiters, "-") && (strings.HasPrefix(user, "owner-") || len(user) > 8 && strings.HasSuffix(user, "-request")) {
		return ""
	}
	i := strings.IndexAny(user, delimiters)
	if i <= 0 { // "Don't split addresses that start with the delimiter"
		return ""
	}
	return user[:i] + domain
}

// literal reads [192.0.2.1] or [IPv6:2001:db8::1].
func literal(s string) (netip.Addr, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if len(s) > 5 && strings.EqualFold(s[:5], "ipv6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err
}
