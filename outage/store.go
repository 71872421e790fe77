package outage

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sparemx/sparemx/internal/durable"
)

const (
	reportSuffix  = ".json"
	journalSuffix = ".journal"
	maxReportSize = 1 << 20
	keepReports   = 100
)

// Store is the directory of the outages: ID.json for each that is over, ID.journal for each that is open. The ID is the start in UTC.
type Store struct {
	Dir  string // made when it is first needed
	Keep int    // reports kept; 100 if 0
}

// List returns the reports, newest first. A file that cannot be read is left out, and told in the error beside the others.
func (s *Store) List() ([]*Report, error) {
	names, err := s.names(reportSuffix)
	var reports []*Report
	for _, name := range slices.Backward(names) {
		r, e := s.load(name)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		reports = append(reports, r)
	}
	return reports, err
}

// Load returns the report of one outage.
func (s *Store) Load(id string) (*Report, error) {
	if !validID(id) {
		return nil, fmt.Errorf("%q is not the ID of an outage: see `sparemx outages`", id)
	}
	return s.load(id + reportSuffix)
}

func (s *Store) load(name string) (*Report, error) {
	path := filepath.Join(s.Dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxReportSize {
		return nil, fmt.Errorf("%s: %d bytes are too many for a report", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := ParseReport(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// save writes a report and drops the oldest beyond Keep.
func (s *Store) save(r *Report) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(s.Dir, r.ID+reportSuffix), append(data, '\n'), 0o600); err != nil {
		return err
	}
	keep := s.Keep
	if keep <= 0 {
		keep = keepReports
	}
	names, err := s.names(reportSuffix)
	for len(names) > keep {
		err = errors.Join(err, os.Remove(filepath.Join(s.Dir, names[0])))
		names = names[1:]
	}
	return err
}

// names lists the files of outages with the given end, oldest first.
func (s *Store) names(suffix string) ([]string, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok && validID(id) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// validID accepts what newID makes: 20260102T030405Z, with -2, -3 ... where several primaries failed in one second.
func validID(id string) bool {
	if len(id) < 16 || len(id) > 20 || id[8] != 'T' || id[15] != 'Z' {
		return false
	}
	for i, c := range []byte(id) {
		if i != 8 && i != 15 && (c < '0' || c > '9') && (i != 16 || c != '-') {
			return false
		}
	}
	return true
}
