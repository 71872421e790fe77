package postfix

import (
	"context"
	"iter"
	"net"
	"net/netip"
	"time"

	"github.com/sparemx/sparemx/queue"
)

// Instance is one Postfix instance on this host.
type Instance struct {
	Name       string  // its syslog_name: "postfix", "postfix-out"; what queue.Message.Instance says
	Multi      string  // multi_instance_name, "" when it has none
	ConfigDir  string  // config_directory
	QueueDir   string  // queue_directory
	DataDir    string  // data_directory
	CommandDir string  // command_directory: where postqueue, postmap are
	Version    Version // mail_version
}

// Options says where to look. The zero Options finds the instances of the default configuration directory.
type Options struct {
	Run        Runner   // nil: Run
	Postconf   string   // path of postconf; "": looked for in /usr/sbin, /usr/local/sbin, /opt/postfix/sbin ... and PATH
	ConfigDirs []string // configuration directories beside the default instance and its multi_instance_directories
	OnlyThese  bool     // nothing but ConfigDirs
}

// Detect finds the instances. Those it could read are returned also when the error is not nil; the error says of each of the
// others what to type.
func Detect(ctx context.Context, o Options) ([]Instance, error) { return nil, ErrNotFound }

// Version is a Postfix version: 3.7.11. Snapshots and release candidates compare as the release they lead to.
type Version struct{ Major, Minor, Patch int }

// Config is the configuration of one instance as its daemons would read it now. It does not change; load a new one.
type Config struct {
	Instance Instance
	run      Runner
}

// Load asks postconf for the whole configuration of an instance. run nil: Run.
func Load(ctx context.Context, run Runner, inst Instance) (*Config, error) { return nil, ErrNotFound }

// Get returns the effective, expanded value of a main.cf parameter, "" when there is none.
func (c *Config) Get(name string) string { return "" }

// Explicit tells whether main.cf sets the parameter.
func (c *Config) Explicit(name string) bool { return false }

// For returns the effective value of a parameter in one service of master.cf: For("smtp", "inet", "smtpd_relay_restrictions").
func (c *Config) For(service, kind, name string) string { return "" }

// Services are the entries of master.cf.
func (c *Config) Services() []Service { return nil }

// Service is one entry of master.cf.
type Service struct {
	Name, Type      string            // "smtp", "inet"; "relay", "unix"
	Private, Chroot string            // "y", "n" or "-"
	Wakeup, MaxProc string            // as written
	Program         string            // "smtpd"
	Args            []string          // its words
	Overrides       map[string]string // of -o
}

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

// Hop is one place a delivery agent would go to.
type Hop struct {
	Host string // name or address without brackets; "" with Path
	Port uint16
	MX   bool   // the MX hosts of Host; else its addresses alone
	Path string // of a UNIX socket ("lmtp:unix:path")
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
	Source    string // what decided: "transport_maps hash:/etc/postfix/transport: example.org"
	Notes     []string
}

// DNS is what of the DNS is asked; *net.Resolver has it.
type DNS interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Resolver tells where Postfix would send mail, as trivial-rewrite(8) and the delivery agent decide it.
type Resolver struct {
	Config *Config
	DNS    DNS // to recognise ourselves among next hops given by name; nil: only addresses and our own names are recognised
}

// Route resolves one recipient address.
func (r *Resolver) Route(ctx context.Context, recipient string) (Route, error) { return Route{}, nil }

// Domain is one domain that this host is backup MX for.
type Domain struct {
	Name  string
	Route Route
}

// Finding is something wrong or untold about the configuration, with one line that says what to type.
type Finding struct {
	ID     string // stable word: "no_next_hop", "self", "not_enumerable" ...
	Domain string // "" when it is not about one
	Text   string
	Remedy string
}

// BackedUp lists the domains of relay_domains that are no other class, each with its Route. It tells as much as can be
// found; what could not is among the findings.
func (r *Resolver) BackedUp(ctx context.Context) ([]Domain, []Finding) { return nil, nil }

// MX is one mail exchanger with its addresses.
type MX struct {
	Host  string
	Pref  uint16
	Addrs []netip.Addr
}

// MXResult is what is left of an MX list once we have looked for ourselves in it.
type MXResult uint8

const (
	MXUsable     MXResult = iota // hosts better than ourselves, or we are not in the list
	MXBestIsSelf                 // we are the best: "mail for X loops back to myself", 5.4.6
	MXNoBetter                   // a better one exists but none has an address: "unable to find primary relay", 4.4.4
	MXNoAddress                  // no host of the list has an address
)

// TruncateMX leaves the hosts strictly better than ourselves.
func TruncateMX(mx []MX, self []netip.Addr) ([]MX, MXResult) { return nil, MXNoAddress }

// Own returns the addresses by which Postfix recognises itself: inet_interfaces and proxy_interfaces.
func (r *Resolver) Own(ctx context.Context) ([]netip.Addr, error) { return nil, nil }

// Queue is the held mail of one or several instances. It implements queue.Queue.
type Queue struct {
	Instances []Instance
	Run       Runner        // nil: Run
	Timeout   time.Duration // for one listing of one instance; 0: 1 min
	Parallel  int           // "postqueue -i" commands at once; 0: 4
}

// Messages implements queue.Queue. It tries each instance; the error, if any, comes last.
func (q *Queue) Messages(ctx context.Context) iter.Seq2[queue.Message, error] {
	return func(yield func(queue.Message, error) bool) {}
}

// Flush implements queue.Queue.
func (q *Queue) Flush(ctx context.Context, sel queue.Selection) error { return nil }

// Settings are the values others need.
type Settings struct {
	SyslogName          string
	Hostname            string // myhostname
	Helo                string // smtp_helo_name of the relay transport
	QueueDir            string
	MaillogFile         string
	Lifetime            time.Duration // maximal_queue_lifetime
	BounceLifetime      time.Duration // bounce_queue_lifetime
	MinBackoff          time.Duration // minimal_backoff_time
	MaxBackoff          time.Duration // maximal_backoff_time
	RunDelay            time.Duration // queue_run_delay
	LongQueueIDs        bool
	MessageSizeLimit    int64 // bytes; 0: none
	BindAddress         string
	BindAddress6        string
	InetProtocols       []string // "ipv4", "ipv6"
	ConcurrencyLimit    int      // relay_destination_concurrency_limit
	FastFlushDomains    string   // as configured, expanded
	FlushServicePresent bool
}

// Settings reads the values others need out of the configuration.
func (c *Config) Settings(ctx context.Context) (Settings, error) { return Settings{}, nil }

// Flushable tells whether "postqueue -s domain" works: whether the domain matches fast_flush_domains.
func (c *Config) Flushable(ctx context.Context, domain string) (bool, error) { return false, nil }
