package logparse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"time"
)

// SpecKind is the kind of a source. The zero kind is a file.
type SpecKind uint8

const (
	FromFile SpecKind = iota
	FromJournal
	FromStdin
)

func (k SpecKind) String() string { return [...]string{"file", "journal", "stdin"}[min(k, FromStdin)] }

// Spec says which source to read, and why.
type Spec struct {
	Kind    SpecKind
	Path    string   // of a file
	OldDirs []string // of a file: see FileOptions
	Journal Journal  // of the journal: what to read of it
	Why     string   // one line for people: "maillog_file of Postfix", "holds lines of Postfix"
}

// Name is the name of the source that Open makes.
func (s Spec) Name() string {
	if s.Kind == FromFile {
		return "file:" + s.Path
	}
	return s.Kind.String()
}

// Open makes the source, to be read from resume on. Nothing is opened before its Run.
func (s Spec) Open(resume Position, o Options) Source {
	switch s.Kind {
	case FromJournal:
		return NewJournal(s.Journal, resume, o)
	case FromStdin:
		return NewReader(s.Name(), os.Stdin, o)
	default:
		return NewFile(s.Path, resume, FileOptions{Options: o, OldDirs: s.OldDirs})
	}
}

// Probe is how [Discover] looks at the system. The zero Probe looks at the real one.
type Probe struct {
	Root       fs.FS // the root directory; nil: "/"
	Now        func() time.Time
	User       string                          // who we are, for the hints; "": asked of the system
	Journalctl func(ctx context.Context) error // nil error: journalctl shows us entries; nil func: run it
}

// recent is how fresh a log must be to be taken for the one in use when it shows no line of Postfix.
const recent = 7 * 24 * time.Hour

var usualLogs = [...]string{"/var/log/mail.log", "/var/log/maillog", "/var/log/mail/mail.log", "/var/log/syslog", "/var/log/messages"}

// Discover finds where Postfix logs to when nothing is configured: maillog_file ("" if it is not set; postconf(5)); else the first
// of the usual files that ends with lines of Postfix, or is a mail log written within a week; else the journal. The error says what to type.
// A log that exists and may not be read is returned beside the error: following it shows the same, and reads it as soon as it may be.
func Discover(ctx context.Context, mailLogFile string, p Probe) ([]Spec, error) {
	if p.Root == nil {
		p.Root = os.DirFS("/")
	}
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.User == "" {
		p.User = "sparemx"
		if u, err := user.Current(); err == nil {
			p.User = u.Username
		}
	}
	if p.Journalctl == nil {
		p.Journalctl = journalShowsUs
	}
	if mailLogFile = strings.TrimSpace(mailLogFile); mailLogFile != "" {
		return maillogFile(mailLogFile, p)
	}
	var refused []string
	var fallback *Spec
	for _, path := range usualLogs {
		holds, written, err := lookAtLog(p.Root, path)
		switch {
		case errors.Is(err, fs.ErrPermission):
			refused = append(refused, path)
		case err != nil:
		case holds:
			return []Spec{{Path: path, Why: "it holds lines of Postfix"}}, nil
		case fallback == nil && strings.Contains(path, "mail") && p.Now().Sub(written) < recent:
			fallback = &Spec{Path: path, Why: "it is a mail log in use, though without lines of Postfix yet"}
		}
	}
	if len(refused) > 0 && fallback == nil {
		// A log that we may not read is more likely the right one than a journal that shows us only our own entries.
		if err := p.Journalctl(ctx); err != nil {
			return []Spec{{Path: refused[0], Why: "it is there, though it may not be read"}}, fmt.Errorf("the log %s exists, but user %s may not read it: usermod -aG adm %s (for the journal: usermod -aG systemd-journal %s), then restart sparemx",
				refused[0], p.User, p.User, p.User)
		}
		return []Spec{{Kind: FromJournal, Why: refused[0] + " may not be read"}}, nil
	}
	if fallback != nil {
		return []Spec{*fallback}, nil
	}
	if err := p.Journalctl(ctx); err != nil {
		return nil, fmt.Errorf("no log of Postfix was found: none of %s is there, and the journal gives nothing (%w); name the log in the configuration (log: { source: [/path] }), or let user %s read the journal: usermod -aG systemd-journal %s",
			strings.Join(usualLogs[:], ", "), err, p.User, p.User)
	}
	return []Spec{{Kind: FromJournal, Why: "no log file was found"}}, nil
}

func maillogFile(path string, p Probe) ([]Spec, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("maillog_file = %s is not an absolute path: correct it in main.cf (postconf -e maillog_file=/var/log/postfix.log)", path)
	}
	if path == "/dev/stdout" {
		return nil, errors.New("maillog_file = /dev/stdout: Postfix logs to where its container's output goes; pipe that to sparemx (log: { source: [-] }), or set maillog_file to a file")
	}
	_, _, err := lookAtLog(p.Root, path)
	if errors.Is(err, fs.ErrPermission) {
		// postlogd(8) makes it 0600 before Postfix 3.9.
		return []Spec{{Path: path, Why: "maillog_file of Postfix, though it may not be read"}}, fmt.Errorf("maillog_file %s cannot be read by user %s: chgrp adm %s && chmod g+r %s && usermod -aG adm %s, then restart sparemx (Postfix 3.9 and later: postconf -e maillog_file_permissions=0640)",
			path, p.User, path, path, p.User)
	}
	return []Spec{{Path: path, Why: "maillog_file of Postfix"}}, nil // not there yet: it is waited for
}

// lookAtLog tells whether the end of a log holds lines of Postfix, and when it was written.
func lookAtLog(root fs.FS, path string) (holds bool, written time.Time, err error) {
	f, err := root.Open(strings.TrimPrefix(path, "/"))
	if err != nil {
		return false, time.Time{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return false, time.Time{}, err
	}
	if !fi.Mode().IsRegular() {
		return false, time.Time{}, errors.New("not a regular file")
	}
	const look = 256 << 10
	if seek, ok := f.(io.Seeker); ok && fi.Size() > look {
		if _, err := seek.Seek(-look, io.SeekEnd); err != nil {
			return false, time.Time{}, err
		}
	}
	end, err := io.ReadAll(io.LimitReader(f, look))
	if err != nil {
		return false, time.Time{}, err
	}
	return bytes.Contains(end, []byte(" postfix")), fi.ModTime(), nil
}

// journalShowsUs asks for the last entry of facility mail; not one, and it is not where Postfix logs to, or not for our eyes.
func journalShowsUs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var stderr boundedText
	cmd := exec.CommandContext(ctx, "journalctl", "--quiet", "--no-pager", "--output=json", "--lines=1", "SYSLOG_FACILITY=2")
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	switch said := strings.TrimSpace(stderr.String()); {
	case err != nil:
		return fmt.Errorf("journalctl: %w %s", err, said)
	case len(bytes.TrimSpace(out)) == 0:
		return fmt.Errorf("journalctl SYSLOG_FACILITY=2 shows no entry %s", said)
	}
	return nil
}
