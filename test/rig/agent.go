package rig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// BinaryEnv names the environment variable with the path of the sparemx binary that tests run. [Main] sets it.
const BinaryEnv = "SPAREMX_BINARY"

// Main builds the sparemx binary once, runs the tests of a package with it, and returns the exit code: the whole of a
// TestMain. The binary has the race detector in it, so that each end-to-end test looks for races too; SPAREMX_RACE=0
// leaves it out, which is what figures are measured with. SPAREMX_BINARY=path tests that binary instead.
func Main(m interface{ Run() int }) int {
	if os.Getenv(BinaryEnv) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "rigbin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // agents run as other users too
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary := filepath.Join(dir, "sparemx")
	args := []string{"build", "-o", binary}
	if _, err := exec.LookPath("gcc"); err == nil && os.Getenv("SPAREMX_RACE") != "0" {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/sparemx/sparemx/cmd/sparemx")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build sparemx: %v\n%s", err, out)
		return 1
	}
	os.Setenv(BinaryEnv, binary)
	return m.Run()
}

// AgentConf is how one agent is run.
type AgentConf struct {
	YAML    string   // text of its configuration file; "" runs it without one
	Args    []string // more flags for "run"
	Env     []string // more environment, NAME=value; "MAIL_CONFIG=dir" makes an instance the default one
	Under   []string // a command that runs the agent in its own place, with its arguments: "setpriv", "--reuid=1", ...
	Stopped bool     // do not start it yet
}

// Agent is one "sparemx run" with its own state directory, socket and port.
type Agent struct {
	Addr    string // 127.0.0.1:port of the metrics
	State   string
	Control string
	Config  string // path of its configuration file, "" without one
	Output  string // path of the file with all it has logged
	t       testing.TB
	conf    AgentConf
	proc    *process
}

// StartAgent starts an agent and waits until it serves. It ends with the test, and what it logged is shown if the test fails.
func StartAgent(t testing.TB, c AgentConf) *Agent {
	t.Helper()
	if os.Getenv(BinaryEnv) == "" {
		t.Fatalf("%s is not set: the package's TestMain has to be os.Exit(rig.Main(m))", BinaryEnv)
	}
	dir := Dir(t)
	a := &Agent{
		Addr: address(Port(t)), State: filepath.Join(dir, "state"), Control: filepath.Join(dir, "control.sock"),
		Output: filepath.Join(dir, "agent.log"), t: t, conf: c,
	}
	if c.YAML != "" {
		a.Config = filepath.Join(dir, "sparemx.yml")
		write(t, a.Config, 0o644, c.YAML)
	}
	t.Cleanup(func() {
		text, _ := os.ReadFile(a.Output)
		if bytes.Contains(text, []byte("DATA RACE")) || bytes.Contains(text, []byte("\npanic: ")) {
			t.Errorf("the agent has a data race or has panicked:\n%s", excerpt(string(text)))
		} else if t.Failed() {
			t.Logf("the agent's log:\n%s", tail(a.Output, 120))
		}
	})
	if !c.Stopped {
		a.Start()
	}
	return a
}

// excerpt is the part of a log from its first race or panic on.
func excerpt(text string) string {
	i := strings.Index(text, "DATA RACE")
	if i < 0 {
		i = strings.Index(text, "\npanic: ")
	}
	return text[max(0, i-40):min(len(text), i+6000)]
}

// flags are what makes a command speak to this agent and no other.
func (a *Agent) flags() []string {
	f := []string{"--state=" + a.State, "--control=" + a.Control}
	if a.Config != "" {
		f = append(f, "--config.file="+a.Config)
	}
	return f
}

// Start starts it (again) and waits until it listens.
func (a *Agent) Start() {
	a.t.Helper()
	out, err := os.OpenFile(a.Output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		a.t.Fatal(err)
	}
	defer out.Close()
	args := append(a.flags(), "--log.level=debug", "run", "--web.listen-address="+a.Addr)
	argv := slices.Concat(a.conf.Under, []string{os.Getenv(BinaryEnv)}, args, a.conf.Args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), a.conf.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	a.proc = startProcess(a.t, "sparemx", cmd)
	if poll(30*time.Second, 5*time.Millisecond, func() bool { return !a.proc.running() || listens(a.Addr) && a.hasControl() }) != nil || !a.proc.running() {
		a.t.Fatalf("the agent does not start: %v\n%s", a.proc.err, tail(a.Output, 40))
	}
}

func (a *Agent) hasControl() bool {
	_, err := os.Stat(a.Control)
	return err == nil
}

// Stop ends it in an orderly way.
func (a *Agent) Stop() {
	a.t.Helper()
	if err := a.proc.terminate(20 * time.Second); err != nil {
		a.t.Error(err)
	}
}

// Kill9 kills it at once.
func (a *Agent) Kill9() { a.proc.kill() }

// Reload sends it SIGHUP.
func (a *Agent) Reload() { syscall.Kill(a.proc.pid, syscall.SIGHUP) }

// PID is its process.
func (a *Agent) PID() int { return a.proc.pid }

// Run runs a subcommand against this agent and returns what it printed, its exit code, and what it printed on standard error.
func (a *Agent) Run(args ...string) (out string, code int, stderr string) {
	a.t.Helper()
	var o, e strings.Builder
	cmd := exec.Command(os.Getenv(BinaryEnv), append(a.flags(), args...)...)
	cmd.Env = append(os.Environ(), a.conf.Env...)
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		a.t.Fatal(err)
	}
	return o.String(), cmd.ProcessState.ExitCode(), e.String()
}

// JSON runs a subcommand and decodes what it printed into v. The exit code may be any: status tells a state by it.
func (a *Agent) JSON(v any, args ...string) {
	a.t.Helper()
	if err := a.TryJSON(v, args...); err != nil {
		a.t.Fatal(err)
	}
}

// TryJSON is JSON for an agent that may not have an answer yet.
func (a *Agent) TryJSON(v any, args ...string) error {
	a.t.Helper()
	out, code, stderr := a.Run(args...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("sparemx %s (exit %d): %v\n%s\n%s", strings.Join(args, " "), code, err, out, stderr)
	}
	return nil
}

// Families are all metric families of one scrape.
type Families map[string]*dto.MetricFamily

// Metrics scrapes it.
func (a *Agent) Metrics() Families {
	a.t.Helper()
	resp, err := http.Get("http://" + a.Addr + "/metrics")
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		a.t.Fatalf("/metrics: %s: %s", resp.Status, body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return families
}

// Sum adds the values of the series of a counter or gauge whose labels have all of the given name, value pairs. found is
// how many there are.
func (f Families) Sum(name string, labels ...string) (sum float64, found int) {
	family := f[name]
	if family == nil {
		return 0, 0
	}
series:
	for _, m := range family.Metric {
		have := map[string]string{}
		for _, l := range m.Label {
			have[l.GetName()] = l.GetValue()
		}
		for i := 0; i+1 < len(labels); i += 2 {
			if have[labels[i]] != labels[i+1] {
				continue series
			}
		}
		sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
		found++
	}
	return sum, found
}

// WaitMetric waits until the sum of a metric satisfies cond, and returns it. No such series satisfies nothing.
func (a *Agent) WaitMetric(limit time.Duration, cond func(float64) bool, name string, labels ...string) float64 {
	a.t.Helper()
	var last float64
	var found int
	if poll(limit, 20*time.Millisecond, func() bool {
		last, found = a.Metrics().Sum(name, labels...)
		return found > 0 && cond(last)
	}) != nil {
		a.t.Fatalf("waited %v for %s%v; it is %v (%d series)", limit, name, labels, last, found)
	}
	return last
}

// Is is a condition for WaitMetric and WaitFor: exactly v.
func Is(v float64) func(float64) bool { return func(got float64) bool { return got == v } }
