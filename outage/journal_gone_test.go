package outage

import (
	"os"
	"path/filepath"
	"testing"
)

// A journal removed or replaced under the agent is written anew, whole.
func TestAJournalThatIsGoneIsWrittenAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outages", "20260102T030405Z.journal")
	j := journal{path: path, broken: errGone}
	whole := func(add func([]byte)) { add([]byte("s all of it")) }
	if err := j.sync(whole); err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func() error{
		"removed":   func() error { return os.RemoveAll(filepath.Dir(path)) },
		"replaced":  func() error { return os.Rename(path+".other", path) },
		"untouched": func() error { return nil },
	} {
		if err := os.WriteFile(path+".other", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if err := j.sync(whole); err != nil {
			t.Fatal(name, err)
		}
		if got, err := os.ReadFile(path); err != nil || len(got) != 9+len("s all of it")+1 {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := j.close(true); err != nil {
		t.Error(err)
	}
}
