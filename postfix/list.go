package postfix

import (
	"context"
	"fmt"
	"strings"
)

// A list is a Postfix list of patterns (util/match_list.c, util/match_ops.c): names, .names, tables, /files of patterns, and ! that
// excludes. The first pattern that matches decides.
type list struct {
	name     string // the parameter
	patterns []pattern
	// domain: parent domains are tried (relay_domains, fast_flush_domains); else the name must be equal (mydestination,
	// virtual_*_domains).
	domain bool
	// parent: a pattern matches subdomains too (parent_domain_matches_subdomains); else only a pattern that begins with a dot does.
	parent bool
}

type pattern struct {
	text string
	not  bool
}

// maxFileDepth bounds how deep files of patterns may name other files.
const maxFileDepth = 10

// domainList reads a list of domains like relay_domains.
func (c *Config) domainList(parameter string) (list, error) {
	l := list{name: parameter, domain: true, parent: c.parentStyle(parameter)}
	return l, c.patterns(&l, c.Get(parameter), false, 0)
}

// nameList reads a list of names like mydestination.
func (c *Config) nameList(parameter string) (list, error) {
	l := list{name: parameter}
	return l, c.patterns(&l, c.Get(parameter), false, 0)
}

// parentStyle tells whether a parameter is in parent_domain_matches_subdomains (global/match_parent_style.c).
func (c *Config) parentStyle(parameter string) bool {
	for _, w := range words(c.Get("parent_domain_matches_subdomains")) {
		if w == parameter {
			return true
		}
	}
	return false
}

func (c *Config) patterns(l *list, text string, not bool, depth int) error {
	if depth > maxFileDepth {
		return fmt.Errorf("%s: files of patterns name each other", l.name)
	}
	for _, w := range words(text) {
		n := not
		for strings.HasPrefix(w, "!") {
			n, w = !n, w[1:]
		}
		switch {
		case w == "":
		case strings.HasPrefix(w, "/"):
			file, err := c.readFile(w)
			if err != nil {
				return fmt.Errorf("%s: %w: make the file readable, or take it out: postconf -e '%s = ...'", l.name, err, l.name)
			}
			var b strings.Builder
			for line := range logicalLines(file) {
				b.WriteString(line)
				b.WriteByte('\n')
			}
			if err := c.patterns(l, b.String(), n, depth+1); err != nil {
				return err
			}
		default:
			l.patterns = append(l.patterns, pattern{w, n})
		}
	}
	return nil
}

// match tells whether a name matches, and by which pattern.
func (c *Config) match(ctx context.Context, l list, name string) (bool, string, error) {
	for _, p := range l.patterns {
		hit := false
		switch {
		case isTable(p.text):
			keys := []key{{strings.ToLower(name), false}}
			if l.domain {
				keys = parentKeys(keys, strings.ToLower(name), l.parent)
			}
			_, table, _, err := c.find(ctx, []string{p.text}, keys)
			if err != nil {
				return false, "", fmt.Errorf("%s: %w", l.name, err)
			}
			hit = table != ""
		case l.domain:
			hit = matchDomain(name, p.text, l.parent)
		default:
			hit = strings.EqualFold(name, p.text)
		}
		if hit {
			return !p.not, p.text, nil
		}
	}
	return false, "", nil
}

// parentKeys appends the parent domains of name as match_hostname() and transport_lookup() try them: "b.c", "c" with parent,
// ".b.c", ".c" without.
func parentKeys(keys []key, name string, parent bool) []key {
	for {
		// strchr(name + 1, '.'): a leading dot is not looked at again
		i := -1
		if len(name) > 1 {
			i = strings.IndexByte(name[1:], '.')
		}
		if i < 0 {
			return keys
		}
		name = name[i+1:]
		if parent {
			name = name[1:]
		}
		if name == "" {
			return keys
		}
		keys = append(keys, key{name, true})
	}
}

func matchDomain(name, pattern string, parent bool) bool {
	if strings.EqualFold(name, pattern) {
		return true
	}
	i := len(name) - len(pattern)
	if i <= 0 || !strings.EqualFold(name[i:], pattern) {
		return false
	}
	return parent && name[i-1] == '.' || !parent && pattern[0] == '.'
}
