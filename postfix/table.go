package postfix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// patternTables are the table types whose lookups take whole keys only: Postfix never asks them for a parent domain or for an
// address without its extension (DICT_FLAG_PATTERN in util/dict_*.c; socketmap_table(5), tcp_table(5), regexp_table(5)).
func patternTable(table string) bool {
	kind, rest, _ := strings.Cut(table, ":")
	switch kind {
	case "proxy":
		return patternTable(rest)
	case "regexp", "pcre", "cidr", "tcp", "socketmap", "fail", "randmap":
		return true
	case "pipemap", "unionmap": // as their members
		rest = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(rest), "{"), "}")
		for _, t := range words(rest) {
			if patternTable(t) {
				return true
			}
		}
	}
	return false
}

// isTable tells whether a word of a list is a lookup table, "type:name" (util/match_list.c, MATCH_DICTIONARY).
func isTable(word string) bool {
	i := strings.IndexByte(word, ':')
	return i > 0 && !strings.HasPrefix(word, "[") && !strings.HasPrefix(word, "/")
}

// key is one lookup key. Partial keys (a parent domain, an address without its extension) are not asked of pattern tables.
type key struct {
	text    string
	partial bool
}

// find asks tables for keys as maps_find() does for each key in turn: the first key that some table has, in the order of
// the tables. It returns what was found and where; no error and no table means that none has it.
func (c *Config) find(ctx context.Context, tables []string, keys []key) (value, table, at string, err error) {
	var asked []map[string]string
	for _, t := range tables {
		var texts []string
		pattern := patternTable(t)
		for _, k := range keys {
			if !k.partial || !pattern {
				texts = append(texts, k.text)
			}
		}
		got, e := c.query(ctx, t, texts)
		if e != nil {
			// A table before it may have what is asked for; nothing after it counts.
			err = e
			break
		}
		asked = append(asked, got)
	}
	// When a table cannot be asked, only the tables before it may answer, and only if they have the first key: any later key
	// would first be asked of the one that fails (maps_find returns at the first error).
	for i, k := range keys {
		for j, got := range asked {
			if k.partial && patternTable(tables[j]) {
				continue
			}
			if v, ok := got[k.text]; ok {
				return v, tables[j], k.text, nil
			}
		}
		if err != nil && i == 0 {
			return "", "", "", err
		}
	}
	return "", "", "", err
}

// query asks one table for keys in one process: "postmap -q -".
func (c *Config) query(ctx context.Context, table string, keys []string) (map[string]string, error) {
	if got, ok := c.known.of(table, keys); ok {
		return got, nil
	}
	var in strings.Builder
	for _, k := range keys {
		if strings.ContainsAny(k, "\r\n\x00") {
			return nil, fmt.Errorf("%w: a key with a line break", ErrLookup)
		}
		if k != "" && k != "-" {
			in.WriteString(k)
			in.WriteByte('\n')
		}
	}
	if in.Len() == 0 {
		return nil, nil
	}
	ask := func(table string) (map[string]string, error) {
		text, err := output(ctx, c.run, askLimit, maxOutput, in.String(), c.Instance.command("postmap"), "-c", c.Instance.ConfigDir, "-q", "-", table)
		var e *ExitError
		if errors.As(err, &e) && e.Code == 1 && !gaveUp(e.Stderr) {
			err = nil // nothing found; there may be warnings about main.cf
		}
		if err != nil {
			return nil, err
		}
		return parseTable(text), nil
	}
	// Only daemons may talk to proxymap(8), and postmap waits ten seconds before it says so. Ask the table itself first.
	if bare, ok := strings.CutPrefix(table, "proxy:"); ok {
		if got, err := ask(bare); err == nil {
			return got, nil
		}
	}
	got, err := ask(table)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w: see what `postmap -c %s -q KEY %s` prints", ErrLookup, table, err, c.Instance.ConfigDir, quote(table))
	}
	return got, nil
}

// answers are what tables said: by table, each key that was asked, with a nil value where the table has none.
type answers map[string]map[string]*string

func (a answers) of(table string, keys []string) (map[string]string, bool) {
	said, ok := a[table]
	if !ok {
		return nil, false
	}
	got := map[string]string{}
	for _, k := range keys {
		v, asked := said[k]
		if !asked {
			return nil, false
		}
		if v != nil {
			got[k] = *v
		}
	}
	return got, true
}

// batchKeys is how many keys one postmap process is asked for.
const batchKeys = 5000

// prefetch returns a copy of c that has asked all tables of the routes of names, many keys in one process each, so that a
// thousand domains do not cost thousands of processes. A table that cannot be asked is left to be asked, and to fail, again.
func (c *Config) prefetch(ctx context.Context, names []string) *Config {
	p := *c
	p.known = answers{}
	ask := func(parameter string, keysOf func(name string) []string) {
		for _, w := range words(c.Get(parameter)) {
			w = strings.TrimLeft(w, "!")
			if !isTable(w) {
				continue
			}
			var keys []string
			for _, n := range names {
				keys = append(keys, keysOf(n)...)
			}
			slices.Sort(keys)
			for batch := range slices.Chunk(slices.Compact(keys), batchKeys) {
				got, err := c.query(ctx, w, batch)
				if err != nil {
					break
				}
				if p.known[w] == nil {
					p.known[w] = map[string]*string{}
				}
				for _, k := range batch {
					p.known[w][k] = nil
					if v, ok := got[k]; ok {
						p.known[w][k] = &v
					}
				}
			}
		}
	}
	parents := func(n string, parent bool) []string {
		keys := []string{n}
		for _, k := range parentKeys(nil, n, parent) {
			keys = append(keys, k.text)
		}
		return keys
	}
	ask("mydestination", func(n string) []string { return []string{n} })
	ask("virtual_alias_domains", func(n string) []string { return []string{n} })
	ask("virtual_mailbox_domains", func(n string) []string { return []string{n} })
	ask("relay_domains", func(n string) []string { return parents(n, c.parentStyle("relay_domains")) })
	ask("transport_maps", func(n string) []string {
		return append(parents(n, c.parentStyle("transport_maps")), probeUser+n, "*")
	})
	ask("relocated_maps", func(n string) []string { return []string{probeUser + n, "@" + n} })
	return &p
}

// parseTable reads "key<tab>value" lines of postmap -q - and -s. The first of several values stays.
func parseTable(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "\t")
		if !ok || k == "" {
			continue
		}
		if _, again := m[k]; !again {
			m[k] = v
		}
	}
	return m
}

// enumerate lists the keys of a table; ok is false when that type of table cannot be listed.
func (c *Config) enumerate(ctx context.Context, table string) (keys []string, ok bool, err error) {
	kind, name, _ := strings.Cut(strings.TrimPrefix(table, "proxy:"), ":")
	switch kind {
	case "hash", "btree", "dbm", "lmdb", "cdb", "sdbm":
		text, err := output(ctx, c.run, askLimit, maxOutput, "", c.Instance.command("postmap"), "-c", c.Instance.ConfigDir, "-s", kind+":"+name)
		if err != nil {
			return nil, true, fmt.Errorf("%w: %s: %w: see what `postmap -c %s -s %s` prints", ErrLookup, table, err, c.Instance.ConfigDir, quote(table))
		}
		for line := range strings.Lines(text) {
			if k, _, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "\t"); ok {
				keys = append(keys, strings.TrimSuffix(k, "\x00"))
			}
		}
		return keys, true, nil
	case "texthash":
		// texthash(5) is read whole by each daemon; postmap cannot list it, and its source is the table.
		text, err := c.readFile(name)
		if err != nil {
			return nil, true, fmt.Errorf("%w: %s: %w", ErrLookup, table, err)
		}
		for line := range logicalLines(text) {
			if f := strings.Fields(line); len(f) > 0 {
				keys = append(keys, strings.ToLower(strings.Trim(f[0], `"`)))
			}
		}
		return keys, true, nil
	case "inline":
		// inline:{ key = value, { key = text with blanks } }
		inner := strings.TrimSpace(name)
		if strings.HasPrefix(inner, "{") {
			if in, _, ok := balanced(inner); ok {
				inner = in
			}
		}
		pending := ""
		for _, w := range words(inner) {
			if strings.HasPrefix(w, "{") {
				w, _, _ = balanced(w)
			}
			switch k, _, ok := strings.Cut(w, "="); {
			case ok && strings.TrimSpace(k) != "":
				keys = append(keys, strings.ToLower(strings.TrimSpace(k)))
			case ok && pending != "": // "key = value": the sign stands alone
				keys = append(keys, strings.ToLower(pending))
			}
			pending = strings.TrimSpace(w)
		}
		return keys, true, nil
	}
	return nil, false, nil
}

// readFile reads a file that a list or a texthash names. It is bounded.
func (c *Config) readFile(name string) (string, error) {
	f, err := os.Open(c.path(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b strings.Builder
	n, err := copyAtMost(&b, f, maxOutput)
	if err == nil && n > maxOutput {
		err = fmt.Errorf("%s: more than %d bytes", filepath.Base(name), maxOutput)
	}
	return b.String(), err
}

// quote shows a word the way a shell takes it.
func quote(s string) string {
	if strings.ContainsAny(s, " \t{}$*?;&|<>()'\"\\`!#~") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
