package postfix

import (
	"strconv"
	"strings"
)

// maxDepth bounds how deep parameters may refer to each other; Postfix itself stops at 100 (util/mac_expand.c).
const maxDepth = 100

// maxExpanded bounds a value: $a = $b$b, $b = $c$c ... doubles at each step.
const maxExpanded = 1 << 20

// expander replaces $name, ${name}, $(name), ${name?text}, ${name:text}, ${name?{text}:{text}} and ${{x} op {y}?...} as
// postconf(5) says. A name that look does not know is empty.
type expander struct {
	look func(name string) string
	left int // bytes that may still be made
}

func expand(value string, look func(string) string) string {
	e := expander{look, maxExpanded}
	return e.expand(value, 0)
}

func (e *expander) expand(s string, depth int) string {
	if !strings.Contains(s, "$") || depth > maxDepth {
		return s
	}
	var b strings.Builder
	for s != "" && e.left > 0 {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			e.add(&b, s)
			break
		}
		e.add(&b, s[:i])
		s = s[i+1:]
		switch {
		case strings.HasPrefix(s, "$"):
			e.add(&b, "$")
			s = s[1:]
		case strings.HasPrefix(s, "{"), strings.HasPrefix(s, "("):
			inner, rest, ok := balanced(s)
			if !ok {
				e.add(&b, "$"+s)
				return b.String()
			}
			e.add(&b, e.expression(inner, depth))
			s = rest
		default:
			n := nameLen(s)
			if n == 0 {
				e.add(&b, "$")
				continue
			}
			e.add(&b, e.expand(e.look(s[:n]), depth+1))
			s = s[n:]
		}
	}
	return b.String()
}

func (e *expander) add(b *strings.Builder, s string) {
	s = s[:min(len(s), e.left)]
	e.left -= len(s)
	b.WriteString(s)
}

// expression is what stands between ${ and }.
func (e *expander) expression(s string, depth int) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "{") { // {x} op {y}
		x, rest, ok := balanced(s)
		if !ok {
			return ""
		}
		rest = strings.TrimSpace(rest)
		op := rest[:max(0, strings.IndexByte(rest, '{'))]
		rest = rest[len(op):]
		y, rest, ok := balanced(rest)
		if !ok {
			return ""
		}
		truth := compare(strings.TrimSpace(op), strings.TrimSpace(e.expand(strings.TrimSpace(x), depth+1)),
			strings.TrimSpace(e.expand(strings.TrimSpace(y), depth+1)))
		rest = strings.TrimSpace(rest)
		if rest == "" {
			if truth {
				return "bool:true"
			}
			return ""
		}
		return e.choose(truth, rest, depth)
	}
	n := nameLen(s)
	name, rest := s[:n], strings.TrimSpace(s[n:])
	value := e.expand(e.look(name), depth+1)
	if rest == "" {
		return value
	}
	if rest[0] == ':' {
		if value != "" {
			return value
		}
		return e.choose(false, rest, depth)
	}
	return e.choose(value != "", rest, depth)
}

// choose evaluates "?text", "?{text}", "?{text}:{text}", ":text", ":{text}".
func (e *expander) choose(truth bool, s string, depth int) string {
	if s[0] == '?' {
		s = strings.TrimSpace(s[1:])
		yes := s
		if strings.HasPrefix(s, "{") {
			inner, rest, ok := balanced(s)
			if !ok {
				return ""
			}
			yes, s = strings.TrimSpace(inner), strings.TrimSpace(rest)
		} else {
			s = ""
		}
		if truth {
			return e.expand(yes, depth+1)
		}
	}
	if truth || !strings.HasPrefix(s, ":") {
		return ""
	}
	s = strings.TrimSpace(s[1:])
	if strings.HasPrefix(s, "{") {
		if inner, _, ok := balanced(s); ok {
			s = strings.TrimSpace(inner)
		}
	}
	return e.expand(s, depth+1)
}

// compare is the relational operator of a ${{x} op {y}?...}. "<level" and its like compare compatibility levels, which are
// versions (Postfix 3.6).
func compare(op, x, y string) bool {
	var c int
	if base, level := strings.CutSuffix(op, "level"); level {
		op = strings.TrimSpace(base)
		c = compareLevel(x, y)
	} else if nx, err := strconv.ParseInt(x, 10, 64); err == nil {
		if ny, err := strconv.ParseInt(y, 10, 64); err == nil {
			switch {
			case nx < ny:
				c = -1
			case nx > ny:
				c = 1
			}
		} else {
			c = strings.Compare(x, y)
		}
	} else {
		c = strings.Compare(x, y)
	}
	switch op {
	case "==":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	case ">=":
		return c >= 0
	}
	return false
}

func compareLevel(x, y string) int {
	a, b := level(x), level(y)
	return Version{a[0], a[1], a[2]}.Compare(Version{b[0], b[1], b[2]})
}

func level(s string) (n [3]int) {
	for i, p := range strings.SplitN(s, ".", 3) {
		n[i], _ = strconv.Atoi(p)
	}
	return n
}

// balanced splits "{inner}rest" or "(inner)rest".
func balanced(s string) (inner, rest string, ok bool) {
	if s == "" {
		return "", "", false
	}
	open, end := s[0], byte('}')
	switch open {
	case '{':
	case '(':
		end = ')'
	default:
		return "", "", false
	}
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case open:
			depth++
		case end:
			if depth--; depth == 0 {
				return s[1:i], s[i+1:], true
			}
		}
	}
	return "", "", false
}

// nameLen is the length of the parameter name at the start of s.
func nameLen(s string) int {
	i := 0
	for i < len(s) && (s[i] == '_' || s[i] == '-' && i > 0 || s[i] >= '0' && s[i] <= '9' || s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z') {
		i++
	}
	return i
}

// words splits a list at commas and blanks; {...} holds together (util/mystrtok.c, CHARS_COMMA_SP and CHARS_BRACE).
func words(s string) []string { return split(s, ", \t\r\n") }

// split splits at any of seps; {...} holds together.
func split(s, seps string) []string {
	var out []string
	start, depth := -1, 0
	for i := range len(s) {
		if depth == 0 && strings.IndexByte(seps, s[i]) >= 0 {
			if start >= 0 {
				out = append(out, s[start:i])
				start = -1
			}
			continue
		}
		if start < 0 {
			start = i
		}
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth = max(0, depth-1)
		}
	}
	if start >= 0 {
		out = append(out, s[start:])
	}
	return out
}
