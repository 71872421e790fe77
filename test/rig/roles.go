package rig

import (
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Backup is a Postfix that is the backup MX of some domains.
//
// routes says for each domain where its primary listens, "127.0.0.1:port". The timers are Postfix's own defaults, so
// that held mail moves within minutes only, unless somebody flushes it.
func Backup(t testing.TB, c Conf, routes map[string]string) *Postfix {
	t.Helper()
	if c.Name == "" {
		c.Name = "mx2"
	}
	if c.Dir == "" {
		c.Dir = Dir(t)
	}
	domains := make([]string, 0, len(routes))
	var lines []string
	for domain, addr := range routes {
		domains = append(domains, domain)
		lines = append(lines, domain+" relay:"+bracket(addr))
	}
	slices.Sort(domains)
	table := filepath.Join(c.Dir, "transport")
	write(t, table, 0o644, lines...)
	c.Main = append([]string{
		"relay_domains = " + strings.Join(domains, ", "),
		"transport_maps = texthash:" + table,
		"smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination",
	}, c.Main...)
	return StartPostfix(t, c)
}

// bracket turns host:port into Postfix's [host]:port, which looks up no MX.
func bracket(addr string) string {
	i := strings.LastIndexByte(addr, ':')
	return "[" + addr[:i] + "]" + addr[i:]
}

// primaryIP is where primaries listen: another address than the backup's own, so that neither takes the other, or a
// smarthost at 127.0.0.1, for itself. Linux has all of 127.0.0.0/8 on the loopback.
const primaryIP = "127.0.0.2"

// PrimaryPostfix is a Postfix that takes mail for its domains and keeps it, so that what arrived can be counted.
type PrimaryPostfix struct {
	*Postfix
	mail string // the maildir that all mail is put into
}

// Primary starts a primary for domains. All of its recipients exist.
func Primary(t testing.TB, c Conf, domains ...string) *PrimaryPostfix {
	t.Helper()
	if c.Name == "" {
		c.Name = "mx1"
	}
	if c.IP == "" {
		c.IP = primaryIP
	}
	if c.Dir == "" {
		c.Dir = Dir(t)
	}
	box := filepath.Join(c.Dir, "mail")
	if err := os.Mkdir(box, 0o700); err != nil {
		t.Fatal(err)
	}
	uid, gid := id(t, "nobody", false), id(t, "nogroup", true)
	if err := os.Chown(box, uid, gid); err != nil {
		t.Fatal(err)
	}
	c.Main = append([]string{
		"virtual_mailbox_domains = " + strings.Join(domains, ", "),
		"virtual_mailbox_base = " + box,
		"virtual_mailbox_maps = static:all/",
		"virtual_uid_maps = static:" + itoa(uid),
		"virtual_gid_maps = static:" + itoa(gid),
		"virtual_mailbox_limit = 0",
	}, c.Main...)
	return &PrimaryPostfix{Postfix: StartPostfix(t, c), mail: filepath.Join(box, "all")}
}

// Arrived counts what was put into mailboxes, by Message-ID. It waits until the primary has put away what it has taken.
func (p *PrimaryPostfix) Arrived() map[string]int {
	p.t.Helper()
	if p.proc.running() {
		p.WaitEmpty(20 * time.Second)
	}
	got := map[string]int{}
	for _, sub := range []string{"new", "cur"} {
		files, _ := filepath.Glob(filepath.Join(p.mail, sub, "*"))
		for _, file := range files {
			f, err := os.Open(file)
			if err != nil {
				p.t.Fatal(err)
			}
			m, err := mail.ReadMessage(f)
			f.Close()
			if err != nil {
				p.t.Fatalf("%s: %v", file, err)
			}
			got[m.Header.Get("Message-Id")]++
		}
	}
	return got
}
