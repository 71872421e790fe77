package rig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Prometheus is a real Prometheus server with its data in a directory of its own.
type Prometheus struct {
	Addr string // 127.0.0.1:port
	t    testing.TB
	proc *process
}

// StartPrometheus starts one that scrapes targets (host:port, job "sparemx") every interval. Rule files may be named.
func StartPrometheus(t testing.TB, interval time.Duration, targets []string, rules ...string) *Prometheus {
	t.Helper()
	Need(t, "prometheus")
	dir := Dir(t)
	config, err := json.Marshal(map[string]any{ // YAML reads JSON
		"global":     map[string]any{"scrape_interval": interval.String(), "evaluation_interval": interval.String(), "scrape_timeout": interval.String()},
		"rule_files": rules,
		"scrape_configs": []any{map[string]any{
			"job_name":       "sparemx",
			"static_configs": []any{map[string]any{"targets": targets}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "prometheus.yml"), 0o644, string(config))
	p := &Prometheus{Addr: address(Port(t)), t: t}
	p.proc = startServer(t, "prometheus", p.Addr, exec.Command(program(t, "prometheus"),
		"--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.Addr, "--log.level=warn"))
	Eventually(t, 20*time.Second, "prometheus to be ready", func() bool { return answers("http://" + p.Addr + "/-/ready") })
	return p
}

// Value is one series of an answer.
type Value struct {
	Labels map[string]string
	Value  float64
}

// Query asks for the value of expr now. No series is an empty answer; a wrong expression fails the test.
func (p *Prometheus) Query(expr string) []Value {
	p.t.Helper()
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := getJSON("http://"+p.Addr+"/api/v1/query?"+url.Values{"query": {expr}}.Encode(), &answer); err != nil {
		p.t.Fatalf("query %s: %v", expr, err)
	}
	var values []Value
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			p.t.Fatalf("query %s: value %v", expr, r.Value)
		}
		values = append(values, Value{r.Metric, v})
	}
	return values
}

// WaitFor waits until expr has exactly one series and its value satisfies cond; it returns the value.
func (p *Prometheus) WaitFor(limit time.Duration, expr string, cond func(float64) bool) float64 {
	p.t.Helper()
	var last []Value
	if poll(limit, 100*time.Millisecond, func() bool {
		last = p.Query(expr)
		return len(last) == 1 && cond(last[0].Value)
	}) != nil {
		p.t.Fatalf("waited %v for %s; it is %v", limit, expr, last)
	}
	return last[0].Value
}

// Alertmanager is a real Alertmanager; alerts are sent to it and read back from it.
type Alertmanager struct {
	URL  string
	t    testing.TB
	proc *process
}

// StartAlertmanager starts one that notifies nobody.
func StartAlertmanager(t testing.TB) *Alertmanager {
	t.Helper()
	Need(t, "alertmanager")
	dir := Dir(t)
	write(t, filepath.Join(dir, "am.yml"), 0o644, `{"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}`)
	addr := address(Port(t))
	a := &Alertmanager{URL: "http://" + addr, t: t}
	a.proc = startServer(t, "alertmanager", addr, exec.Command(program(t, "alertmanager"),
		"--config.file="+filepath.Join(dir, "am.yml"), "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--cluster.listen-address=", "--log.level=warn"))
	Eventually(t, 20*time.Second, "alertmanager to be ready", func() bool { return answers(a.URL + "/-/ready") })
	return a
}

// FiringAlert is an alert as Alertmanager shows it.
type FiringAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// Alerts are the alerts that fire now.
func (a *Alertmanager) Alerts() []FiringAlert {
	a.t.Helper()
	var alerts []FiringAlert
	if err := getJSON(a.URL+"/api/v2/alerts", &alerts); err != nil {
		a.t.Fatal(err)
	}
	return alerts
}

// startServer starts a program, shows its output if the test fails, and waits until it listens.
func startServer(t testing.TB, name, addr string, cmd *exec.Cmd) *process {
	t.Helper()
	path := filepath.Join(Dir(t), name+".log")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, tail(path, 60))
		}
	})
	p := startProcess(t, name, cmd)
	if poll(30*time.Second, 5*time.Millisecond, func() bool { return !p.running() || listens(addr) }) != nil || !p.running() {
		t.Fatalf("%s does not listen at %s: %v\n%s", name, addr, p.err, tail(path, 30))
	}
	return p
}

func answers(url string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func getJSON(url string, into any) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return json.Unmarshal(body, into)
}
