package postfix

import (
	"slices"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	for name, lacks := range map[string][]string{"3.7": nil, "no -P, as before 2.11": {"-P"}, "neither -x nor -P": {"-x", "-P"}} {
		t.Run(name, func(t *testing.T) {
			c := config(t, &recorded{lacks: lacks}, nil)
			if got := c.Instance.Name + " " + c.Version().String() + " " + c.Instance.QueueDir; got != "postfix 3.7.11 /var/spool/postfix" {
				t.Error(got)
			}
			for _, test := range []struct{ service, kind, name, want string }{
				{"", "", "smtp_helo_name", "mx2.example.net"}, // $myhostname
				{"", "", "address_verify_map", "btree:/var/lib/postfix/verify_cache"},
				{"", "", "no_such_parameter", ""},
				{"relay", "unix", "smtp_helo_name", "out.example.net"},
				{"relay", "unix", "syslog_name", "postfix/relay"},
				{"relay", "unix", "smtp_fallback_relay", "[192.0.2.99]"}, // = $fallback_relay, which the service overrides
				{"smtp", "unix", "smtp_fallback_relay", ""},
				{"smtp", "inet", "smtpd_client_restrictions", "permit_mynetworks, reject_unknown_client_hostname"},
				{"no_such", "unix", "smtp_helo_name", "mx2.example.net"},
			} {
				got := c.Get(test.name)
				if test.service != "" {
					got = c.For(test.service, test.kind, test.name)
				}
				if got != test.want {
					t.Errorf("%s/%s/%s is %q, want %q", test.service, test.kind, test.name, got, test.want)
				}
			}
			if !c.Explicit("relay_domains") || c.Explicit("smtp_helo_name") {
				t.Error("Explicit is wrong")
			}
		})
	}
}

// Below 2.10 and above, what we expand ourselves is what postconf -x expands.
func TestExpandIsPostconfX(t *testing.T) {
	c := config(t, &recorded{}, nil)
	// Parameters whose values are filled in by a daemon at run time, so that postconf leaves the $name as it is.
	runtime := []string{"forward_path", "postscreen_expansion_filter", "postscreen_reject_footer", "default_rbl_reply", "proxy_read_maps"}
	same := 0
	for name, raw := range c.raw {
		got, want := expand(raw, c.rawValue), c.expanded[name]
		if slices.Contains(runtime, name) {
			continue
		}
		if !slices.Equal(words(got), words(want)) {
			t.Errorf("%s = %s expands to %q, postconf -x says %q", name, raw, got, want)
		}
		same++
	}
	if same < 900 {
		t.Errorf("%d parameters compared", same)
	}
}

func TestExpand(t *testing.T) {
	values := map[string]string{"a": "1", "e": "", "b": "$a$a", "loop": "x$loop", "level": "3.6", "compatibility_level": "3.10"}
	look := func(n string) string { return values[n] }
	for in, want := range map[string]string{
		"":                               "",
		"x$a.y":                          "x1.y",
		"${a}$(a)$b":                     "1111",
		"$$a":                            "$a",
		"$":                              "$",
		"${a?yes}${e?yes}${a:no}${e:no}": "yes1no",
		"${a?{y$a}:{n}} ${e?{y}:{n$a}}":  "y1 n1",
		"${{$a}=={1}?{t}:{f}}":           "t",
		"${{$a} == {2} ? {t} : {f}}":     "f",
		"${{10} > {9} ? {t} : {f}}":      "t",
		"${{b} > {a} ? {t} : {f}}":       "t",
		"${{$compatibility_level} <level {3.6} ? {t} : {f}}": "f",
		"${unclosed": "${unclosed",
	} {
		if got := expand(in, look); got != want {
			t.Errorf("%q expands to %q, want %q", in, got, want)
		}
	}
	if n := len(expand("$loop", look)); n > maxDepth+10 {
		t.Errorf("a loop made %d bytes", n)
	}
	bomb := map[string]string{}
	for c := 'a'; c < 'z'; c++ {
		bomb[string(c)] = "$" + string(c+1) + "$" + string(c+1) + "$" + string(c+1)
	}
	bomb["z"] = "x"
	if n := len(expand("$a", func(n string) string { return bomb[n] })); n > maxExpanded {
		t.Errorf("a bomb made %d bytes", n)
	}
}

func TestSettings(t *testing.T) {
	s, err := config(t, &recorded{}, nil).Settings()
	if err != nil {
		t.Fatal(err)
	}
	if s.Lifetime != 21*24*time.Hour || s.BounceLifetime != 5*24*time.Hour || s.MinBackoff != 300*time.Second || s.MaxBackoff != 4000*time.Second ||
		s.RunDelay != 300*time.Second || !s.LongQueueIDs || s.MessageSizeLimit != 51200000 || s.ConcurrencyLimit != 5 || s.Helo != "out.example.net" ||
		s.Hostname != "mx2.example.net" || s.SyslogName != "postfix" || !slices.Equal(s.InetProtocols, []string{"ipv4", "ipv6"}) || !s.FlushService {
		t.Errorf("%+v", s)
	}
	if _, err := config(t, &recorded{}, map[string]string{"maximal_queue_lifetime": "soon"}).Settings(); err == nil {
		t.Error("a lifetime of \"soon\" is no error")
	}
}

func TestFlushable(t *testing.T) {
	c := config(t, &recorded{tables: map[string]map[string]string{"texthash:/etc/postfix/relay_domains": {"mail.test": "x"}}}, nil)
	for domain, want := range map[string]bool{"example.org": true, "EXAMPLE.org": true, "a.example.org": true, "sub.example.com": false, "a.sub.example.com": false,
		"example.com": true, "mail.test": true, "a.mail.test": true, "other.test": false, "notexample.org": false} {
		got, err := c.Flushable(t.Context(), domain)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", domain, got, err, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"5": 5 * time.Second, "5d": 120 * time.Hour, "1h": time.Hour, "2m": 2 * time.Minute, "3w": 504 * time.Hour, "0": 0,
		"": -1, "d": -1, "5x": -1, "5 d": -1, "-1": -1, "99999999999": -1} {
		got, err := parseDuration(in, time.Second)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q is %v, want %v", in, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	for in, want := range map[string]Version{"3.7.11": {3, 7, 11}, "2.11.0": {2, 11, 0}, "3.12-20260101": {3, 12, 0}, "3.11-RC1": {3, 11, 0}, "3.11.6": {3, 11, 6}} {
		if got, err := ParseVersion(in); err != nil || got != want {
			t.Errorf("%q is %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "3", "x.y", "3.7.1.2", "3.-1"} {
		if v, err := ParseVersion(in); err == nil {
			t.Errorf("%q is %v", in, v)
		}
	}
	if v := (Version{3, 10, 0}); !v.AtLeast(3, 9) || v.AtLeast(3, 11) || !v.AtLeast(3, 10) || v.AtLeast(4, 0) {
		t.Error("3.10 compares wrong")
	}
}
