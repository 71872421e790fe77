package alert

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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

const maxSecret = 16 << 10

// readSecret returns what a file holds, without the line end. It is read each time it is used, so that a change needs no restart.
func readSecret(path string) (string, error) {
	if p := credential(path); p != "" {
		path = p
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err // names the file, never what it holds
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	s := strings.TrimSpace(string(data))
	switch {
	case s == "":
		return "", fmt.Errorf("%s is empty: write the secret into it", path)
	case len(data) > maxSecret:
		return "", fmt.Errorf("%s is longer than %d bytes: that is no secret", path, maxSecret)
	case strings.ContainsAny(s, "\r\n\x00"):
		return "", fmt.Errorf("%s holds more than one line: write only the secret into it", path)
	}
	return s, nil
}

// redactor cuts secrets out of what is shown: our own errors, and what a peer answers, which may echo what it was sent.
type redactor struct{ secrets []string }

// hide adds secrets, in each form in which they go over the wire.
func (r *redactor) hide(secrets ...string) {
	for _, s := range secrets {
		if len(s) < 4 {
			continue // would blank out innocent text, and is no secret
		}
		r.secrets = append(r.secrets, s, url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString([]byte(s)))
	}
	// The longest first: else what contains another secret would be left in part.
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
}

// hideURL adds all of a URL that may be secret: everything but scheme and host.
func (r *redactor) hideURL(s string) {
	r.hide(s)
	u, err := url.Parse(s)
	if err != nil {
		return
	}
	if len(u.RequestURI()) > 1 {
		r.hide(u.RequestURI())
	}
	if u.User != nil {
		pass, _ := u.User.Password()
		r.hide(u.User.String(), u.User.Username(), pass)
	}
	for part := range strings.SplitSeq(u.EscapedPath(), "/") {
		if len(part) > 8 {
			r.hide(part)
		}
	}
	for _, values := range u.Query() {
		r.hide(values...)
	}
}

func (r *redactor) text(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, "***")
	}
	return Clean(strings.ToValidUTF8(s, "?"), 300)
}

// error strips the URL that net/http puts into its errors, then all secrets.
func (r *redactor) error(err error) string {
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		err = ue.Err
	}
	return r.text(err.Error())
}
