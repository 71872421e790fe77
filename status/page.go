package status

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS []byte

// Handler serves the page at /, its style sheet, and the JSON at /api/v1/status. now makes the Status of this moment and must return
// at once. All of it is to be read only.
func Handler(now func() Status) http.Handler {
	page := template.Must(template.New("page").Funcs(template.FuncMap{
		"ago":   func(at, t time.Time) string { return Ago(at.Sub(t)) },
		"secs":  func(s float64) string { return Ago(seconds(s)) },
		"ptr":   func(s *float64) string { return Ago(seconds(*s)) },
		"clock": clock,
		"took":  took,
		"bytes": size,
		"x":     func(i int) int { return i * 10 },
	}).Parse(pageHTML)) // our own text: a test parses it
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		if err := page.Execute(&b, now()); err != nil {
			http.Error(w, "the page could not be made: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(b.Bytes())
	})
	mux.HandleFunc("/page.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "max-age=300")
		w.Write(pageCSS)
	})
	mux.HandleFunc("/api/v1/status", func(w http.ResponseWriter, r *http.Request) {
		b, err := json.MarshalIndent(now(), "", "  ")
		if err != nil {
			http.Error(w, "the status could not be written: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(append(b, '\n'))
	})
	return mux
}

func size(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 10_000_000:
		return fmt.Sprintf("%d kB", n/1000)
	case n < 10_000_000_000:
		return fmt.Sprintf("%d MB", n/1_000_000)
	}
	return fmt.Sprintf("%d GB", n/1_000_000_000)
}
