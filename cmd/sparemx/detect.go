package main

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/sparemx/sparemx/config"
	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/postfix"
	"github.com/sparemx/sparemx/probes"
)

// detect asks the local Postfix for what the configuration leaves out. The notes are what the user should know; the error is of a host
// that nothing could be found out about.
func detect(ctx context.Context, cfg *config.Config) (config.Host, []string, error) {
	host, err := cfg.Detect(ctx, postfix.Options{})
	return host, host.Notes, err
}

// newLadder makes the prober, which says and recognises our own name as the local Postfix does.
func newLadder(cfg *config.Config, host config.Host) *probes.Ladder {
	l := &probes.Ladder{Hostname: cfg.Hostname, SelfAddrs: host.Own, Timeout: time.Duration(cfg.Probe.Timeout)}
	for _, s := range host.Settings {
		for _, name := range []string{s.Hostname, s.Helo} {
			if name != "" && !slices.Contains(l.SelfNames, name) {
				l.SelfNames = append(l.SelfNames, name)
			}
		}
	}
	for _, text := range []string{cfg.Probe.Bind, host.First().BindAddress6} {
		switch a, err := netip.ParseAddr(text); {
		case err != nil:
		case a.Is4():
			l.Bind4 = a
		default:
			l.Bind6 = a
		}
	}
	return l
}

// logSpecs tells where the log comes from: as configured, else as Postfix and the system say.
func logSpecs(ctx context.Context, cfg *config.Config, host config.Host) ([]logparse.Spec, error) {
	var specs []logparse.Spec
	for _, s := range cfg.Log.Source {
		spec := logparse.Spec{Kind: logparse.FromFile, Path: s, Why: "log.source in the configuration"}
		switch s {
		case "journal":
			spec.Kind, spec.Path = logparse.FromJournal, ""
		case "-":
			spec.Kind, spec.Path = logparse.FromStdin, ""
		}
		specs = append(specs, spec)
	}
	if len(specs) > 0 {
		return specs, nil
	}
	// Instances may log to different places.
	files := host.MailLogs()
	if len(files) == 0 {
		files = []string{""}
	}
	var firstErr error
	for _, file := range files {
		found, err := logparse.Discover(ctx, file, logparse.Probe{})
		if err != nil && firstErr == nil {
			firstErr = err
		}
		for _, spec := range found {
			same := func(s logparse.Spec) bool { return s.Name() == spec.Name() }
			if !slices.ContainsFunc(specs, same) {
				specs = append(specs, spec)
			}
		}
	}
	if len(specs) > 0 {
		firstErr = nil
	}
	return specs, firstErr
}

// hostname returns our name for messages.
func hostname(cfg *config.Config) string {
	if cfg.Hostname != "" {
		return cfg.Hostname
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
