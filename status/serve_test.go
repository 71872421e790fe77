package status

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// start serves s and returns its address; the end of the test checks that it stops cleanly.
func start(t *testing.T, s *Server) string {
	t.Helper()
	s.Addresses = []string{"127.0.0.1:0"}
	if s.Status == nil {
		s.Status = func() Status { return Build(hostileInputs()) }
	}
	addr := make(chan string, 1)
	s.OnListen = func(a net.Addr) { addr <- a.String() }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
	return <-addr
}

func get(t *testing.T, client *http.Client, url string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestThePort(t *testing.T) {
	ready := errors.New("no probe has ended yet")
	url := "http://" + start(t, &Server{
		Ready:   func() error { return ready },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "metrics here") }),
	})
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/": {200, "<h1>"}, "/api/v1/status": {200, `"schema": 1`}, "/metrics": {200, "metrics here"}, "/page.css": {200, "prefers-color-scheme"},
		"/-/healthy": {200, "runs"}, "/-/ready": {503, "no probe has ended yet"}, "/nothing": {404, ""}, "/debug/pprof/": {404, ""},
	} {
		resp, body := get(t, http.DefaultClient, url+path, nil)
		if resp.StatusCode != want.code || !strings.Contains(body, want.text) {
			t.Errorf("%s: %d %.80q, want %d with %q", path, resp.StatusCode, body, want.code, want.text)
		}
		if got := resp.Header.Get("Content-Security-Policy"); got != csp {
			t.Errorf("%s: policy %q", path, got)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE"} {
		resp, _ := get(t, http.DefaultClient, url+"/", func(r *http.Request) { r.Method = method })
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
	if resp, body := get(t, http.DefaultClient, url+"/", func(r *http.Request) { r.Method = "HEAD" }); resp.StatusCode != 200 || body != "" {
		t.Errorf("HEAD: %d %q", resp.StatusCode, body)
	}
}

func TestStrangersDoNotReachThePage(t *testing.T) {
	_, body := get(t, http.DefaultClient, "http://"+start(t, &Server{})+"/", nil)
	for _, bad := range []string{"<script", "\x1b", "\u202e", "\x07", "\u200b"} {
		if strings.Contains(body, bad) {
			t.Errorf("%q is on the page", bad)
		}
	}
	if !strings.Contains(body, "&lt;script&gt;") || !strings.HasSuffix(strings.TrimSpace(body), "</html>") && !strings.Contains(body, "</html>") {
		t.Errorf("the page is not whole:\n%s", body)
	}
}

func TestTLSAndUsers(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("correct"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"cert.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"key.pem":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"web.yml":  "tls_server_config: { cert_file: cert.pem, key_file: key.pem }\nbasic_auth_users: { prometheus: '" + string(hash) + "' }\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr := start(t, &Server{WebConfig: filepath.Join(dir, "web.yml")})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(files["cert.pem"]))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	for password, want := range map[string]int{"": 401, "wrong": 401, "correct": 200} {
		resp, _ := get(t, client, "https://"+addr+"/api/v1/status", func(r *http.Request) {
			if password != "" {
				r.SetBasicAuth("prometheus", password)
			}
		})
		if resp.StatusCode != want {
			t.Errorf("password %q: %d, want %d", password, resp.StatusCode, want)
		}
	}
	if resp, _ := get(t, http.DefaultClient, "http://"+addr+"/", nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("in clear: %d", resp.StatusCode)
	}
}

func TestABadWebConfigIsSaidAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(path, []byte("tls_server_confg: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := (&Server{Addresses: []string{"127.0.0.1:0"}, WebConfig: path}).Serve(t.Context())
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestATakenPortSaysWhatToType(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = (&Server{Addresses: []string{l.Addr().String()}}).Serve(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--web.listen-address") {
		t.Errorf("got %v", err)
	}
}
