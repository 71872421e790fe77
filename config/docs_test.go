package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// Every key has its place in the reference, so that a new one cannot be forgotten.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOf(reflect.TypeFor[Config](), "") {
		if !strings.Contains(string(text), "`"+key+"`") {
			t.Errorf("docs/CONFIGURATION.md does not tell of %s", key)
		}
	}
}

func keysOf(t reflect.Type, path string) (keys []string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Struct:
		return keysOf(t.Elem(), path+".DOMAIN")
	case t.Kind() != reflect.Struct || readsItself(t):
		return []string{strings.TrimPrefix(path, ".")}
	}
	for name, f := range yamlFields(t) {
		keys = append(keys, keysOf(f, path+"."+name)...)
	}
	return keys
}
