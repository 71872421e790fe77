package postfix

import "strings"

// Service is one entry of master.cf (master(5)).
type Service struct {
	Name, Type      string            // "smtp", "inet"; "relay", "unix"
	Private, Chroot string            // "y", "n" or "-"
	Wakeup, MaxProc string            // as written
	Program         string            // "smtpd"
	Args            []string          // its words; a {...} is one word
	Overrides       map[string]string // of -o; values as written, nil when none
}

// Services are the entries of master.cf.
func (c *Config) Services() []Service { return c.services }

// Service returns one entry of master.cf. An inet service may be named by its whole address ("127.0.0.1:smtp").
func (c *Config) Service(name, kind string) (Service, bool) {
	for _, s := range c.services {
		if s.Name == name && s.Type == kind {
			return s, true
		}
	}
	return Service{}, false
}

// transport returns the delivery agent called name. Delivery agents are of type unix; a pass or inet service is none.
func (c *Config) transport(name string) (Service, bool) { return c.Service(name, "unix") }

// parseServices reads "postconf -M": the eight columns of master.cf, one logical line each.
func parseServices(text string) []Service {
	var all []Service
	for line := range logicalLines(text) {
		f := split(line, " \t")
		if len(f) < 8 {
			continue
		}
		s := Service{Name: f[0], Type: f[1], Private: f[2], Chroot: f[4], Wakeup: f[5], MaxProc: f[6], Program: f[7], Args: f[8:]}
		for i := 0; i < len(s.Args); i++ {
			a := s.Args[i]
			if !strings.HasPrefix(a, "-o") {
				continue
			}
			if a == "-o" {
				if i++; i == len(s.Args) {
					break
				}
				a = s.Args[i]
			} else {
				a = a[len("-o"):]
			}
			if strings.HasPrefix(a, "{") && strings.HasSuffix(a, "}") {
				a = strings.TrimSpace(a[1 : len(a)-1])
			}
			name, value, ok := strings.Cut(a, "=")
			if name = strings.TrimSpace(name); !ok || name == "" {
				continue
			}
			s.override(name, strings.TrimSpace(value))
		}
		all = append(all, s)
	}
	return all
}

// logicalLines yields lines with their continuations ("-M -f"), without empty lines and comments.
func logicalLines(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		var b strings.Builder
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, " \t\r\n")
			if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
				continue
			}
			if line[0] != ' ' && line[0] != '\t' && b.Len() > 0 {
				if !yield(b.String()) {
					return
				}
				b.Reset()
			}
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(strings.TrimSpace(line))
		}
		if b.Len() > 0 {
			yield(b.String())
		}
	}
}

func (s *Service) override(name, value string) {
	if s.Overrides == nil {
		s.Overrides = map[string]string{}
	}
	s.Overrides[name] = value
}

// mergeOverrides reads "postconf -P" (Postfix 2.11): "service/type/parameter = value".
func mergeOverrides(services []Service, text string) {
	for key, value := range parseParameters(text) {
		// A service name may hold a slash; a type and a parameter name do not.
		i := strings.LastIndexByte(key, '/')
		if i < 0 {
			continue
		}
		name := key[i+1:]
		j := strings.LastIndexByte(key[:i], '/')
		if j < 0 || name == "" {
			continue
		}
		for k := range services {
			if s := &services[k]; s.Name == key[:j] && s.Type == key[j+1:i] {
				s.override(name, value)
			}
		}
	}
}
