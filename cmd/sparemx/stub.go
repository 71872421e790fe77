package main

import (
	"context"
	"net"
	"net/http"

	"github.com/alecthomas/kingpin/v2"
)

func (c *cli) addStatus(app *kingpin.Application) {}

func (h *house) status() any { return map[string]any{"schema": 1} }

func (h *house) wellness(mux *http.ServeMux) {
	ok := func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("OK\n")) }
	mux.HandleFunc("GET /-/healthy", ok)
	mux.HandleFunc("GET /-/ready", ok)
}

func (h *house) serveWeb(ctx context.Context, ls []net.Listener, conf string) error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", h.metrics.Handler())
	h.wellness(mux)
	srv := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { srv.Close() })
	srv.Serve(ls[0])
	return nil
}
