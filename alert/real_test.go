package alert

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// TestRealAlertmanager lets an alert fire and end at Debian's Alertmanager, and asks its own API what it has.
func TestRealAlertmanager(t *testing.T) {
	rig.Need(t, "alertmanager")
	dir := t.TempDir()
	conf := filepath.Join(dir, "am.yml")
	if err := os.WriteFile(conf, []byte("route: {receiver: none}\nreceivers: [{name: none}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command("prometheus-alertmanager", "--config.file="+conf, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--cluster.listen-address=")
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })

	type shown struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		Status      struct {
			State string `json:"state"`
		} `json:"status"`
	}
	ask := func() (all []shown) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v2/alerts", nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil
		}
		defer resp.Body.Close()
		json.NewDecoder(resp.Body).Decode(&all)
		return all
	}

	// Alertmanager is still starting: the first attempts fail, and the alert comes all the same.
	a := alerts(t, Config{Alertmanager: &AlertmanagerConfig{URLs: []string{"http://" + addr}}}, dir)
	run(t, a)
	n := hostileNotice(1)
	n.Kind, n.Key, n.Severity, n.Facts = PrimaryDown, "primary_down/mx1.example.org", Critical, primaryDown().Facts
	n.Labels["primary"] = "mx1.example.org"
	a.Notify(n)
	var got []shown
	waitFor(t, func() bool { got = ask(); return len(got) == 1 })
	if g := got[0]; g.Labels["alertname"] != "SparemxPrimaryDown" || g.Labels["severity"] != "critical" || g.Labels["primary"] != "mx1.example.org" ||
		g.Labels["instance"] != "mx2.example.net" || g.Annotations["summary"] == "" || g.Annotations["description"] == "" {
		t.Fatalf("%+v", g)
	}
	a.Notify(recovered())
	waitFor(t, func() bool { return len(ask()) == 0 })
	if c := a.Status().Channels[0]; c.LastError != "" || c.Sent[PrimaryDown] != 1 || c.Sent[Recovered] != 1 {
		t.Fatalf("%+v", c)
	}
}
