package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the size of a configuration file in bytes: one larger is something else.
const maxFile = 1 << 20

// Load reads and checks the file at path over the defaults. The errors of a file are all told at once.
func Load(path string) (*Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, hintFile(path, err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes is not a configuration file (at most %d)", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, hintFile(path, err)
	}
	c, err := Parse(data, path)
	if err != nil {
		return nil, prefixEach(path, err)
	}
	return c, nil
}

// Parse is Load of data already read; path is where it came from and where relative paths start.
func Parse(data []byte, path string) (*Config, error) {
	c := Default()
	c.path = path
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) > 0 {
		root := doc.Content[0]
		if root.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("line %d: a configuration is a mapping: write `key: value` lines", root.Line)
		}
		seen := func(key string, line int) { c.source[key] = fmt.Sprintf("%s:%d", filepath.Base(path), line) }
		if errs := walkKeys(root, reflect.TypeFor[Config](), "", seen); len(errs) > 0 {
			return nil, errors.Join(errs...)
		}
		if err := root.Decode(c); err != nil {
			return nil, plain(err)
		}
	}
	c.resolvePaths(filepath.Dir(path))
	return c, c.Check()
}

var goType = regexp.MustCompile(`cannot unmarshal !!(\w+) (.*) into (\S+)$`)

// plain rewrites yaml's errors, which name Go types, for people.
func plain(err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var errs []error
	for _, e := range te.Errors {
		if m := goType.FindStringSubmatchIndex(e); m != nil {
			want := e[m[6]:m[7]]
			switch {
			case want == "int" || want == "uint16":
				want = "a whole number"
			case want == "bool":
				want = "true or false"
			case want == "string":
				want = "one value"
			case strings.HasPrefix(want, "[]"):
				want = "a list: [a, b]"
			default:
				want = "keys of its own, each on a line below it"
			}
			e = e[:m[0]] + e[m[4]:m[5]] + " is not right here: it takes " + want
		}
		errs = append(errs, errors.New(e))
	}
	return errors.Join(errs...)
}

// resolvePaths makes each relative path relative to the file's directory.
func (c *Config) resolvePaths(dir string) {
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	abs(&c.State)
	abs(&c.Control)
	abs(&c.Web.Config)
	for i := range c.Postfix.Config {
		abs(&c.Postfix.Config[i])
	}
	for i, s := range c.Log.Source {
		if s != "journal" && s != "-" {
			abs(&c.Log.Source[i])
		}
	}
	c.Alert.Resolve(dir)
}

func hintFile(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist: give the right path with --config.file, or leave it out to let Postfix say what this host backs up", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s cannot be read: chgrp sparemx %s && chmod 640 %s", path, path, path)
	}
	return err
}

// prefixEach puts the file before each joined error, so that each line says where.
func prefixEach(path string, err error) error {
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		sep := ": "
		if strings.HasPrefix(line, "line ") {
			line, sep = strings.TrimPrefix(line, "line "), ":"
		}
		errs = append(errs, errors.New(path+sep+line))
	}
	return errors.Join(errs...)
}

func sorted(s []string) []string { slices.Sort(s); return s }
