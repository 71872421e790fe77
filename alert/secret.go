package alert

import (
	"os"
	"path/filepath"
	"strings"
)

// credential returns the path of the systemd credential with that name (systemd.exec(5), LoadCredential=), "" if there is none.
func credential(name string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || strings.Contains(name, "/") || name == "." || name == ".." {
		return ""
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}
