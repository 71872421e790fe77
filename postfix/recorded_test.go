package postfix

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorded answers as the commands of one Postfix did, and as postmap does for the given tables.
type recorded struct {
	dir    string                       // of testdata: what postconf printed
	lacks  []string                     // options this postconf does not know
	tables map[string]map[string]string // table: key: value
	broken map[string]string            // table: what postmap complains about
	asked  [][]string                   // each Argv
}

func (f *recorded) run(ctx context.Context, c Command) error {
	f.asked = append(f.asked, c.Argv)
	out, err := f.answer(c)
	if c.Read != nil {
		if e := c.Read(strings.NewReader(out)); e != nil {
			return e
		}
	}
	return err
}

func (f *recorded) answer(c Command) (string, error) {
	args := c.Argv[3:] // after "-c dir"
	switch filepath.Base(c.Argv[0]) {
	case "postconf":
		name := "postconf"
		if len(args) > 0 {
			name += args[0]
			if slices.Contains(f.lacks, args[0]) {
				return "", &ExitError{Argv: c.Argv, Code: 1, Stderr: "postconf: invalid option -- '" + args[0][1:] + "'\npostconf: fatal: usage: postconf [-a (server SASL types)]"}
			}
		}
		text, err := os.ReadFile(filepath.Join("testdata", f.dir, name+".txt"))
		return string(text), err
	case "postmap":
		table := args[2]
		if why := f.broken[table]; why != "" {
			return "", &ExitError{Argv: c.Argv, Code: 1, Stderr: why}
		}
		var b strings.Builder
		for k := range strings.Lines(c.Stdin) {
			k = strings.TrimSpace(k)
			if v, ok := f.tables[table][k]; ok {
				b.WriteString(k + "\t" + v + "\n")
			}
		}
		if b.Len() == 0 {
			return "", &ExitError{Argv: c.Argv, Code: 1}
		}
		return b.String(), nil
	}
	return "", os.ErrNotExist
}

// config is a configuration of Postfix 3.7 with some parameters set otherwise.
func config(t testing.TB, f *recorded, set map[string]string) *Config {
	t.Helper()
	if f.dir == "" {
		f.dir = "3.7"
	}
	c, err := Load(t.Context(), f.run, Instance{ConfigDir: "/etc/postfix", CommandDir: "/usr/sbin"})
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range set {
		c.raw[k], c.explicit[k] = v, true
	}
	if len(set) > 0 {
		c.expanded = nil
		c.Instance.fill(c)
	}
	return c
}
