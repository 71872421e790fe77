package logparse

import (
	"io/fs"
	"os/user"
	"strconv"
	"syscall"
)

// groupOf is the name of a file's group, "" if it cannot be told.
func groupOf(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	g, err := user.LookupGroupId(strconv.FormatUint(uint64(st.Gid), 10))
	if err != nil {
		return ""
	}
	return g.Name
}
