package alert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// trouble is why a message was not taken. Its text is redacted and cleaned.
type trouble struct {
	what    string
	refused bool          // this message is not wanted, others may be; else the channel is in trouble
	gone    bool          // the message that was to be updated is no more
	after   time.Duration // the receiver asked for so much patience; 0: it did not
}

func (t *trouble) Error() string { return t.what }

const (
	maxAnswer   = 64 << 10 // bytes read of an answer
	sendTimeout = 30 * time.Second
	maxPatience = time.Hour // most that a Retry-After is honoured
)

// newClient makes the client for all channels. It follows no redirect: a POST would become a GET, and the secrets in URL and headers
// would go to a host that nobody configured.
func newClient(proxy string) (*http.Client, error) {
	via := http.ProxyFromEnvironment
	if proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil {
			return nil, errors.New("alert.proxy: this is not a URL: write http://host:port")
		}
		via = http.ProxyURL(u)
	}
	return &http.Client{
		Timeout: sendTimeout,
		Transport: bounded{&http.Transport{
			Proxy:                  via,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  20 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        90 * time.Second,
			ForceAttemptHTTP2:      true,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// bounded ends the body of every answer after maxAnswer bytes.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// ask sends one request and returns the status line; every error is a *trouble.
func ask(ctx context.Context, client *http.Client, method, target string, header http.Header, body []byte, red *redactor) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return "", &trouble{what: "this is not a URL: write https://host/path"}
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "sparemx")
	resp, err := client.Do(req)
	if err != nil {
		return "", &trouble{what: red.text(req.URL.Host) + ": " + red.error(err)}
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body) // only to be shown; may be cut
	status := red.text(resp.Status)
	if resp.StatusCode/100 == 2 {
		return status, nil
	}
	what := fmt.Sprintf("%s answered %s", red.text(req.URL.Host), status)
	if resp.StatusCode/100 == 3 {
		what += " to another place: write the final URL, redirects are not followed"
	} else if text := strings.TrimSpace(red.text(string(answer))); text != "" {
		what += ": " + text
	}
	return "", &trouble{what: Clean(what, 300), refused: refusal(resp.StatusCode), after: retryAfter(resp.Header.Get("Retry-After"))}
}

// refusal holds for what says that this message, not the channel, is at fault (RFC 9110 section 15.5).
func refusal(code int) bool {
	switch code {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// retryAfter reads the header of RFC 9110 section 10.2.3: seconds or a date.
func retryAfter(s string) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if t, err := http.ParseTime(s); err == nil {
		d = time.Until(t)
	}
	return min(max(d, 0), maxPatience)
}
