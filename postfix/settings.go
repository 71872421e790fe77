package postfix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Settings are the values others need.
type Settings struct {
	SyslogName       string
	Hostname         string // myhostname
	Helo             string // smtp_helo_name of the relay transport
	QueueDir         string
	MaillogFile      string        // "": Postfix logs to syslog
	Lifetime         time.Duration // maximal_queue_lifetime
	BounceLifetime   time.Duration // bounce_queue_lifetime
	MinBackoff       time.Duration // minimal_backoff_time
	MaxBackoff       time.Duration // maximal_backoff_time
	RunDelay         time.Duration // queue_run_delay
	LongQueueIDs     bool          // enable_long_queue_ids
	MessageSizeLimit int64         // bytes; 0: none
	BindAddress      string        // smtp_bind_address of the relay transport
	BindAddress6     string        // smtp_bind_address6
	InetProtocols    []string      // "ipv4", "ipv6"
	ConcurrencyLimit int           // relay_destination_concurrency_limit
	FastFlushDomains string        // as configured, expanded
	FlushService     bool          // master.cf has the flush service
}

// Settings reads the values others need out of the configuration. It asks nothing of Postfix. What could be read is
// returned also when the error is not nil.
func (c *Config) Settings() (Settings, error) {
	transport, _, _ := strings.Cut(cmp.Or(c.Get("relay_transport"), "relay"), ":")
	of := func(name string) string { return c.For(transport, "unix", name) }
	_, flush := c.Service("flush", "unix")
	s := Settings{
		SyslogName: c.Get("syslog_name"), Hostname: c.Get("myhostname"), Helo: cmp.Or(of("smtp_helo_name"), c.Get("myhostname")),
		QueueDir: c.Get("queue_directory"), MaillogFile: c.Get("maillog_file"), LongQueueIDs: c.Bool("enable_long_queue_ids"),
		BindAddress: of("smtp_bind_address"), BindAddress6: of("smtp_bind_address6"), FastFlushDomains: c.Get("fast_flush_domains"), FlushService: flush,
	}
	if v4, v6 := c.families(); v4 || v6 {
		if v4 {
			s.InetProtocols = append(s.InetProtocols, "ipv4")
		}
		if v6 {
			s.InetProtocols = append(s.InetProtocols, "ipv6")
		}
	}
	var wrong []error
	// The units of bare numbers: postconf(5).
	for _, d := range []struct {
		to   *time.Duration
		name string
		unit time.Duration
	}{
		{&s.Lifetime, "maximal_queue_lifetime", 24 * time.Hour},
		{&s.BounceLifetime, "bounce_queue_lifetime", 24 * time.Hour},
		{&s.MinBackoff, "minimal_backoff_time", time.Second},
		{&s.MaxBackoff, "maximal_backoff_time", time.Second},
		{&s.RunDelay, "queue_run_delay", time.Second},
	} {
		v, err := c.Duration(d.name, d.unit)
		if err != nil {
			wrong = append(wrong, err)
		}
		*d.to = v
	}
	var err error
	if s.MessageSizeLimit, err = strconv.ParseInt(c.Get("message_size_limit"), 10, 64); err != nil {
		wrong = append(wrong, fmt.Errorf("message_size_limit = %s is not a number: postconf -e 'message_size_limit = 51200000'", c.Get("message_size_limit")))
	}
	limit := cmp.Or(c.Get(transport+"_destination_concurrency_limit"), c.Get("default_destination_concurrency_limit"), "20")
	if s.ConcurrencyLimit, err = strconv.Atoi(limit); err != nil {
		wrong = append(wrong, fmt.Errorf("%s_destination_concurrency_limit = %s is not a number: postconf -e '%s_destination_concurrency_limit = 20'", transport, limit, transport))
	}
	return s, errors.Join(wrong...)
}

// Flushable tells whether "postqueue -s domain" works: whether the domain matches fast_flush_domains and there is a flush service.
func (c *Config) Flushable(ctx context.Context, domain string) (bool, error) {
	if _, ok := c.Service("flush", "unix"); !ok {
		return false, nil
	}
	l, err := c.domainList("fast_flush_domains")
	if err != nil {
		return false, err
	}
	ok, _, err := c.match(ctx, l, domain)
	return ok, err
}
