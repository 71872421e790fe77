package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
)

// DefaultAddress is where the page and the metrics are. The other exporters of Postfix are on 9154, so that both can run while one moves.
const DefaultAddress = ":19154"

// Server is the scrape port: the page, the JSON, the metrics. It can only be read. Fields are set before Serve.
type Server struct {
	Addresses []string      // host:port; DefaultAddress if empty
	WebConfig string        // file of exporter-toolkit with TLS and users; "": neither
	Metrics   http.Handler  // /metrics; nil: none
	Status    func() Status // of this moment; returns at once
	// Ready says why the agent is not ready yet, nil when it is. A nil Ready is always ready.
	Ready func() error
	Log   *slog.Logger // nil: nothing is logged
	// OnListen is told each address that is listened on before the first request is answered; nil: nobody.
	OnListen func(net.Addr)
}

// Serve answers until ctx ends, then lets requests under way finish for a few seconds. It returns nil when ctx ended it.
func (s *Server) Serve(ctx context.Context) error {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if s.WebConfig != "" {
		if err := web.Validate(s.WebConfig); err != nil {
			return fmt.Errorf("web config %s: %w", s.WebConfig, err)
		}
	}
	addresses := s.Addresses
	if len(addresses) == 0 {
		addresses = []string{DefaultAddress}
	}
	var listeners []net.Listener
	for _, a := range addresses {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", a)
		if err != nil {
			for _, open := range listeners {
				err = errors.Join(err, open.Close())
			}
			return fmt.Errorf("web: %w: choose another with --web.listen-address", err)
		}
		listeners = append(listeners, l)
		if s.OnListen != nil {
			s.OnListen(l.Addr())
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(listeners))
	var wg sync.WaitGroup
	for i, l := range listeners {
		wg.Go(func() {
			defer stop() // one that fails ends all
			errs[i] = s.serve(ctx, l, log)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// serve answers on one listener. Each has a server of its own: exporter-toolkit wraps the handler of the one it is given.
func (s *Server) serve(ctx context.Context, l net.Listener, log *slog.Logger) error {
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what scanners do to a port is no news
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		err := server.Shutdown(grace)
		if err != nil {
			err = errors.Join(err, server.Close())
		}
		done <- err
	}()
	if ctx.Err() != nil {
		return errors.Join(l.Close(), <-done)
	}
	err := web.Serve(l, server, &web.FlagConfig{WebConfigFile: &s.WebConfig}, log)
	if errors.Is(err, http.ErrServerClosed) {
		<-done // a request that did not finish in time is no error of ours
		return nil
	}
	return errors.Join(err, l.Close())
}

// csp lets the page have its own style sheet and nothing else.
const csp = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", Handler(s.Status))
	if s.Metrics != nil {
		mux.Handle("/metrics", s.Metrics)
	}
	mux.HandleFunc("/-/healthy", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "sparemx runs.") })
	mux.HandleFunc("/-/ready", func(w http.ResponseWriter, r *http.Request) {
		if s.Ready != nil {
			if err := s.Ready(); err != nil {
				http.Error(w, "Not ready: "+clean(err.Error()), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "sparemx is ready.")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", csp)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if strings.HasPrefix(r.URL.Path, "/-/") {
			h.Set("Cache-Control", "no-store")
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "this port can only be read", http.StatusMethodNotAllowed)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<10)
		mux.ServeHTTP(w, r)
	})
}
