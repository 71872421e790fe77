package postfix

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is a Postfix version: 3.7.11. Snapshots ("3.12-20260101") and release candidates ("3.11-RC1") compare as the
// release they lead to. The zero Version is "not known".
type Version struct{ Major, Minor, Patch int }

// ParseVersion reads mail_version.
func ParseVersion(s string) (Version, error) {
	release, _, _ := strings.Cut(strings.TrimSpace(s), "-")
	parts := strings.Split(release, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return Version{}, fmt.Errorf("%.40q is not a Postfix version", s)
	}
	var n [3]int
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return Version{}, fmt.Errorf("%.40q is not a Postfix version", s)
		}
		n[i] = int(v)
	}
	return Version{n[0], n[1], n[2]}, nil
}

// Compare returns -1, 0 or 1.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// AtLeast tells whether v is major.minor or newer.
func (v Version) AtLeast(major, minor int) bool { return v.Compare(Version{major, minor, 0}) >= 0 }

func (v Version) String() string {
	if v == (Version{}) {
		return "unknown"
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}
