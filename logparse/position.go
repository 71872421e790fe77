package logparse

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sparemx/sparemx/internal/durable"
)

// Position is how far a source was read, small enough to be written every second. The zero Position is "nothing known".
//
// In a file a line is named by the file's device and inode, the offset, and two fingerprints: of the first bytes and of the
// bytes just before the offset. The fingerprints find the file again when it was copied or compressed, and tell when the
// inode means another file now: truncated and grown again, or deleted and its inode reused.
type Position struct {
	FilePosition
	// Older are files that were rotated away and still watched for late lines.
	Older []FilePosition `json:"older,omitempty"`
	// Absent: the file was not there yet; when it appears it is read from its start.
	Absent bool `json:"absent,omitempty"`
	// Cursor is journald's own name for the last entry handed on (systemd.journal-fields(7), __CURSOR=).
	Cursor string `json:"cursor,omitempty"`
	// Time is, for the journal, the time of the last entry, or when reading began if there was none yet.
	Time time.Time `json:"time,omitzero"`
}

// FilePosition is how far one file was read.
type FilePosition struct {
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	Offset int64  `json:"offset,omitempty"` // bytes from the start of the (uncompressed) file: all before it was handed on
	Size   int64  `json:"size,omitempty"`   // the last size seen
	// ModTime is the file's last modification seen, Unix nanoseconds; when the file is gone, rotated files modified later are
	// taken to be younger than it.
	ModTime int64       `json:"mtime,omitempty"`
	HeadAt  int64       `json:"head_at,omitempty"` // where the text begins: NULs before it are in every file that was truncated under a writer that does not append
	Head    Fingerprint `json:"head,omitzero"`     // of the first bytes of text: not beyond Offset, but at Offset 0 of what was read and not handed on
	Tail    Fingerprint `json:"tail,omitzero"`     // of the bytes that end at Offset
	Cut     bool        `json:"cut,omitempty"`     // Offset is inside a line longer than MaxLine that was handed on: skip to its end
}

// Fingerprint names a short run of bytes.
type Fingerprint struct {
	Len int    `json:"len,omitempty"` // bytes, 0 to 512
	Sum string `json:"sum,omitempty"` // the first 16 bytes of their SHA-256, in hex; "" when Len is 0
}

// fingerprintBytes is the longest run that is fingerprinted. Every log line has a time stamp, so two files that agree in their
// first 512 bytes and in the 512 before an offset are the same text up to there.
const fingerprintBytes = 512

func fingerprint(b []byte) Fingerprint {
	if len(b) == 0 {
		return Fingerprint{}
	}
	sum := sha256.Sum256(b)
	return Fingerprint{len(b), hex.EncodeToString(sum[:16])}
}

// IsZero reports whether nothing is known.
func (p Position) IsZero() bool {
	return p.FilePosition == FilePosition{} && len(p.Older) == 0 && !p.Absent && p.Cursor == "" && p.Time.IsZero()
}

// valid tells whether a position read from a file makes sense, so that code beyond need not ask.
func (p FilePosition) valid() bool {
	ok := func(f Fingerprint) bool {
		return f.Len >= 0 && f.Len <= fingerprintBytes && (f.Len == 0) == (f.Sum == "")
	}
	return p.Offset >= 0 && p.Size >= 0 && ok(p.Head) && ok(p.Tail) && int64(p.Tail.Len) <= p.Offset && p.HeadAt >= 0 && (p.Offset == 0 || int64(p.Head.Len) <= p.Offset-p.HeadAt)
}

type positionsFile struct {
	Schema    int                 `json:"schema"`
	Positions map[string]Position `json:"positions"`
}

const positionsSchema = 1

// LoadPositions reads what [SavePositions] wrote, by source name. A file that is not there is an empty map and no error. With an
// error the map is empty and usable: log the error and start as if nothing had been saved.
func LoadPositions(path string) (map[string]Position, error) {
	none := map[string]Position{}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("log positions: %w", err)
	}
	bad := func(why any) error {
		return fmt.Errorf("log positions in %s cannot be used (%v): reading starts as on the first day; remove the file if this is repeated", path, why)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	var f positionsFile
	if err := d.Decode(&f); err != nil {
		return none, bad(err)
	}
	if f.Schema != positionsSchema {
		return none, bad(fmt.Sprintf("schema %d, not %d", f.Schema, positionsSchema))
	}
	for name, p := range f.Positions {
		ok := p.valid()
		for _, o := range p.Older {
			ok = ok && o.valid()
		}
		if !ok {
			return none, bad("the position of " + fmt.Sprintf("%q", name) + " is impossible")
		}
	}
	if f.Positions == nil {
		return none, nil
	}
	return f.Positions, nil
}

// SavePositions writes the positions so that they survive a crash and a power cut. The directory must exist.
func SavePositions(path string, positions map[string]Position) error {
	data, err := json.MarshalIndent(positionsFile{positionsSchema, positions}, "", " ")
	if err != nil {
		return fmt.Errorf("log positions: %w", err)
	}
	if err := durable.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("log positions: %w", err)
	}
	return nil
}
