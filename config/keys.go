package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// walkKeys holds the keys of a YAML node against the fields of a Go type. Each key that no field has is reported with its
// line and the nearest key; each leaf that was set is told to seen with its dotted path.
func walkKeys(n *yaml.Node, t reflect.Type, path string, seen func(path string, line int)) []error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode || readsItself(t) {
		seen(path, n.Line)
		if _, err := model.ParseDuration(n.Value); t == reflect.TypeFor[Duration]() && err != nil {
			return []error{fmt.Errorf("line %d: %s: %q is not a length of time: write it with its unit, like 30s, 15m, 4h or 21d", n.Line, path, n.Value)}
		}
		return nil
	}
	var errs []error
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		switch t.Kind() {
		case reflect.Map:
			errs = append(errs, walkKeys(value, t.Elem(), at, seen)...)
		case reflect.Struct:
			fields := yamlFields(t)
			f, ok := fields[key.Value]
			if !ok {
				errs = append(errs, fmt.Errorf("line %d: unknown key %q%s%s", key.Line, key.Value, under(path), nearest(key.Value, fields)))
				continue
			}
			errs = append(errs, walkKeys(value, f, at, seen)...)
		default:
			errs = append(errs, fmt.Errorf("line %d: %s takes a value, not keys of its own", key.Line, path))
			return errs
		}
	}
	return errs
}

func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, i := range []reflect.Type{reflect.TypeFor[yaml.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
		reflect.TypeFor[interface{ UnmarshalYAML(func(any) error) error }]()} {
		if p.Implements(i) {
			return true
		}
	}
	return false
}

func yamlFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case strings.Contains(opts, "inline"):
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			for k, v := range yamlFields(inner) {
				fields[k] = v
			}
		case name != "" && name != "-":
			fields[name] = f.Type
		}
	}
	return fields
}

func under(path string) string {
	if path == "" {
		return ""
	}
	return " under " + path
}

func nearest(key string, fields map[string]reflect.Type) string {
	best, score := "", 0.0
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
		if s := levenshtein.Similarity(key, name, nil); s > score || s == score && name < best {
			best, score = name, s
		}
	}
	if score >= 0.5 {
		return fmt.Sprintf(": did you mean %q?", best)
	}
	return ": it takes " + strings.Join(sorted(names), ", ")
}
