package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparemx/sparemx/probes"
)

func parse(t *testing.T, text string) (*Config, error) {
	t.Helper()
	return Parse([]byte(text), "/etc/sparemx/sparemx.yml")
}

func TestNothingSetIsTheDefault(t *testing.T) {
	c, err := parse(t, "# only a comment\n")
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Duration(c.Probe.Every); d != 30*time.Second || c.Probe.Fall != 3 || c.Web.Listen[0] != ":19154" || !*c.Metrics.Compat {
		t.Errorf("%+v", c)
	}
}

func TestBadFilesSayWhatToType(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"unknown key":        {"probe: { evry: 30s }", `line 1: unknown key "evry" under probe: did you mean "every"?`},
		"unknown at the top": {"mode: postfix\ndomain: {}", `line 2: unknown key "domain": did you mean "domains"?`},
		"unknown and far":    {"log: { zzz: 1 }", "it takes source, stall"},
		"unit left out":      {"probe: { every: 30 }", `line 1: probe.every: "30" is not a length of time: write it with its unit, like 30s`},
		"word for a number":  {"probe: { fall: three }", "line 1: `three` is not right here: it takes a whole number"},
		"keys for a value":   {"state: { dir: /x }", "line 1: state takes a value"},
		"out of range":       {"probe: { fall: 0 }", "probe.fall: 0 is out of range: from 1 to 100"},
		"too often":          {"probe: { down: 1ms }", "probe.down: 1ms is out of range: from 100ms to 1h"},
		"hop with bad port":  {"domains: { example.org: { primary: 'mx1:99999' } }", `port "99999"`},
		"hop with a space":   {"domains: { example.org: { primary: ['mx 1'] } }", "write host, host:port"},
		"bad domain":         {"domains: { 'exa mple.org': { primary: mx1.example.org } }", `"exa mple.org" is not a domain`},
		"bad pace":           {"drain: { pace: fast }", "write window (gentle), postfix"},
		"mode":               {"mode: exim", `"exim" is not a mode`},
		"not a mapping":      {"- a\n- b", "line 1: a configuration is a mapping"},
		"not yaml":           {"a: [", "line 1"},
		"duplicate key":      {"mode: postfix\nmode: postfix", "already defined"},
		"listen":             {"web: { listen: ['19154'] }", `write ":19154"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %q in it", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "config.") {
				t.Errorf("names a Go type: %v", err)
			}
		})
	}
}

func TestAllErrorsOfAFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparemx.yml")
	if err := os.WriteFile(path, []byte("mod: x\nprobe: { evry: 1s }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], path+":1: ") || !strings.HasPrefix(lines[1], path+":2: ") {
		t.Errorf("got %q", lines)
	}
}

func TestLoadSaysWhatIsWrongWithThePath(t *testing.T) {
	if _, err := Load("/nonexistent/sparemx.yml"); err == nil || !strings.Contains(err.Error(), "--config.file") {
		t.Errorf("got %v", err)
	}
}

func TestDomainsWithTheSameNextHopsShareAPrimary(t *testing.T) {
	c, err := parse(t, `
domains:
  example.org: { primary: [10.1.0.12, "MX1.example.org.:2525"] }
  example.net: { primary: "10.1.0.12, mx1.example.org:2525" }
  example.com: { primary: 10.1.0.12, recipient: probe@example.com }
  example.edu: {}
`)
	if err != nil {
		t.Fatal(err)
	}
	vpn, public := probes.NextHop{Host: "10.1.0.12"}, probes.NextHop{Host: "mx1.example.org", Port: 2525}
	want := []probes.Primary{
		{Name: "10.1.0.12", Domains: []string{"example.com"}, NextHops: []probes.NextHop{vpn}, Recipient: "probe@example.com"},
		{Name: "10.1.0.12#2", Domains: []string{"example.net", "example.org"}, NextHops: []probes.NextHop{vpn, public}},
	}
	if diff := cmp.Diff(want, c.Primaries(), cmp.Transformer("hops", func(h Hops) []probes.NextHop { return h })); diff != "" {
		t.Error(diff)
	}
	if got := c.Missing(); len(got) != 1 || got[0] != "example.edu" {
		t.Errorf("missing: %v", got)
	}
}

func TestParseHop(t *testing.T) {
	for in, want := range map[string]probes.NextHop{
		"mx1.example.org":      {Host: "mx1.example.org"},
		"mx1.example.org:2525": {Host: "mx1.example.org", Port: 2525},
		"192.0.2.1":            {Host: "192.0.2.1"},
		"[192.0.2.1]":          {Host: "192.0.2.1"},
		"192.0.2.1:26":         {Host: "192.0.2.1", Port: 26},
		"2001:db8::1":          {Host: "2001:db8::1"},
		"[2001:db8::1]":        {Host: "2001:db8::1"},
		"[2001:db8::1]:2525":   {Host: "2001:db8::1", Port: 2525},
	} {
		if got, err := ParseHop(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", ":25", "a:b:c", "a..b", "-a", "a:0", "a b", "a\r\nRSET", "[a", strings.Repeat("a", 64)} {
		if got, err := ParseHop(in); err == nil {
			t.Errorf("%q: took it as %+v", in, got)
		}
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	c, err := parse(t, "state: ./state\nlog: { source: [mail.log, journal, '-'] }")
	if err != nil {
		t.Fatal(err)
	}
	if c.State != "/etc/sparemx/state" || !cmp.Equal(c.Log.Source, []string{"/etc/sparemx/mail.log", "journal", "-"}) {
		t.Errorf("state %s, log %v", c.State, c.Log.Source)
	}
}

func TestPrintNamesEachSourceAndReadsBack(t *testing.T) {
	c, err := parse(t, "hostname: mx2.example.net\nprobe:\n  down: 1s\ndomains:\n  example.org: { primary: ['10.1.0.12', 'mx1.example.org:2525'] }\n")
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Print()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"hostname: mx2.example.net # sparemx.yml:1", "down: 1s # sparemx.yml:3", "every: 30s # default", "# sparemx.yml:5",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	again, err := parse(t, string(out))
	if err != nil {
		t.Fatalf("does not read back: %v\n%s", err, out)
	}
	if !cmp.Equal(c.Primaries(), again.Primaries()) || !cmp.Equal(again.Probe, c.Probe) {
		t.Errorf("changed on the way:\n%s", out)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("probe: { every: 30s }\ndomains: { example.org: { primary: mx1 } }")
	f.Add("alert: { slack: { webhook_file: x } }")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse([]byte(text), "/etc/x.yml")
		if (c != nil && err == nil) != (err == nil) {
			t.Fatal("neither a configuration nor an error")
		}
		if err == nil {
			if _, err := c.Print(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
