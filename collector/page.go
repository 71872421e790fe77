package collector

import (
	"compress/gzip"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// The text that Prometheus asks for is written by ourselves: with 200 primaries there are some 30,000 lines, and a registry makes
// an object of each, checks and sorts it at every scrape. Here each series is kept with its name and labels already written, since
// the same series come in the same order at each scrape, and only the number is new. A test holds the text against the registry's,
// which still answers whoever asks for protobuf.

// page is the text of one scrape. It is used by one scrape at a time, and again by the next.
type page struct {
	families map[string]*pageFamily
	order    []*pageFamily
	out      []byte
}

// pageFamily is one family of the catalog.
type pageFamily struct {
	shown
	name   string
	head   string
	series []pageSeries
	n      int // how many of series are in this scrape
}

// pageSeries is one series: its lines up to the numbers, and the numbers.
type pageSeries struct {
	values []string // of the labels as they were put
	lines  []string // `name{a="b"} `; of a histogram one for each bucket, then _sum and _count
	v      float64
	counts []float64 // of a histogram: the buckets, cumulative, and +Inf
}

func newPage(all map[string]shown, help map[string]string) *page {
	p := &page{families: make(map[string]*pageFamily, len(all))}
	types := map[kind]string{gauge: "gauge", counter: "counter", histo: "histogram", untyped: "untyped"}
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	for name, s := range all {
		head := "# HELP " + name + " " + escape.Replace(help[name]) + "\n# TYPE " + name + " " + types[s.kind] + "\n"
		f := &pageFamily{shown: s, name: name, head: head}
		p.families[name] = f
		p.order = append(p.order, f)
	}
	slices.SortFunc(p.order, func(a, b *pageFamily) int { return strings.Compare(a.name, b.name) })
	return p
}

// begin makes the page empty.
func (p *page) begin() {
	for _, f := range p.order {
		f.n = 0
	}
}

// next returns the series with these label values, in the order they were put; fresh tells that its lines are to be written.
func (f *pageFamily) next(values []string) (s *pageSeries, fresh bool) {
	if f.n == len(f.series) {
		f.series = append(f.series, pageSeries{})
	}
	s = &f.series[f.n]
	f.n++
	if s.lines != nil && slices.Equal(s.values, values) {
		return s, false
	}
	s.values = slices.Clone(values)
	return s, true
}

// put shows one value; values are those of the labels in the catalog's order.
func (p *page) put(name string, v float64, values []string) bool {
	f := p.families[name]
	if f == nil || len(values) != len(f.asked) || f.kind == histo {
		return false
	}
	s, fresh := f.next(values)
	if fresh {
		pairs := make([]string, 0, 2*len(values))
		for _, l := range f.labels {
			pairs = append(pairs, l, values[slices.Index(f.asked, l)])
		}
		s.lines = []string{line(name, pairs)}
	}
	s.v = v
	return true
}

// histogram shows h; pairs are name, value, in the order of the names.
func (p *page) histogram(name string, h shape, pairs []string) bool {
	f := p.families[name]
	if f == nil || f.kind != histo {
		return false
	}
	bounds, counts, total, sum := h.classic()
	s, fresh := f.next(pairs)
	if fresh || len(s.lines) != len(bounds)+3 {
		s.lines = nil
		for i := range len(bounds) + 1 {
			le := "+Inf"
			if i < len(bounds) {
				le = string(appendNumber(nil, bounds[i]))
			}
			s.lines = append(s.lines, line(name+"_bucket", append(slices.Clip(pairs), "le", le)))
		}
		s.lines = append(s.lines, line(name+"_sum", pairs), line(name+"_count", pairs))
	}
	s.counts = s.counts[:0]
	var n uint64
	for _, c := range counts[:len(bounds)] {
		n += c
		s.counts = append(s.counts, float64(n))
	}
	s.counts = append(s.counts, float64(total))
	s.v = sum
	return true
}

// line writes a series up to its number.
func line(name string, pairs []string) string {
	var b strings.Builder
	b.WriteString(name)
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	for i := 0; i+1 < len(pairs); i += 2 {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(pairs[i])
		b.WriteString(`="`)
		b.WriteString(escape.Replace(strings.ToValidUTF8(pairs[i+1], "?")))
		b.WriteByte('"')
	}
	if len(pairs) > 0 {
		b.WriteByte('}')
	}
	b.WriteByte(' ')
	return b.String()
}

// text writes all that was put.
func (p *page) text() []byte {
	out := p.out[:0]
	for _, f := range p.order {
		if f.n == 0 {
			continue
		}
		out = append(out, f.head...)
		for i := range f.series[:f.n] {
			s := &f.series[i]
			for j, l := range s.lines {
				v := s.v
				switch {
				case j < len(s.counts):
					v = s.counts[j]
				case f.kind == histo && j > len(s.counts): // _count
					v = s.counts[len(s.counts)-1]
				}
				out = append(out, l...)
				out = append(appendNumber(out, v), '\n')
			}
		}
		if spare := f.series[f.n:]; len(spare) > f.n { // most of them are gone, after a reload
			f.series = slices.Clone(f.series[:f.n])
		}
	}
	p.out = out
	return out
}

// appendNumber writes v as the text format has it.
func appendNumber(b []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case v == math.Trunc(v) && math.Abs(v) < 1e6: // the most, and the same digits
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// pages are the pages that are not in use: one is kept.
type pages struct {
	mu   sync.Mutex
	free *page
}

func (ps *pages) take() *page {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.free
	ps.free = nil
	return p
}

func (ps *pages) give(p *page) {
	ps.mu.Lock()
	ps.free = p
	ps.mu.Unlock()
}

// maxScrapes bounds the scrapes under way at a time.
const maxScrapes = 8

// textHandler answers scrapes that take text, and leaves the others to rest.
func (c *Collector) textHandler(rest http.Handler) http.Handler {
	places := make(chan struct{}, maxScrapes)
	zips := sync.Pool{New: func() any { // 1.2 MB each, which need not stay
		z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a constant that exists
		return z
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultAcceptedFormats()...)
		if format.FormatType() != expfmt.TypeTextPlain || r.URL.Query().Has("name[]") {
			rest.ServeHTTP(w, r)
			return
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			http.Error(w, "too many scrapes at a time: try again later", http.StatusServiceUnavailable)
			return
		}
		p := c.pages.take()
		if p == nil {
			p = newPage(c.shown, c.help)
		}
		defer c.pages.give(p)
		p.begin()
		c.collect(&scrape{c: c, page: p, now: time.Now()})
		out := append(p.text(), c.runtimeText()...)
		p.out = out
		h := w.Header()
		h.Set("Content-Type", string(format))
		h.Add("Vary", "Accept, Accept-Encoding")
		if !takesGzip(r.Header) {
			h.Set("Content-Length", strconv.Itoa(len(out)))
			w.Write(out) // an error means that the scraper is gone
			return
		}
		h.Set("Content-Encoding", "gzip")
		zip := zips.Get().(*gzip.Writer)
		defer zips.Put(zip)
		zip.Reset(w)
		zip.Write(out)
		zip.Close()
	})
}

// takesGzip tells whether the client takes gzip (RFC 9110 section 12.5.3).
func takesGzip(h http.Header) bool {
	for _, v := range h.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(v, ",") {
			coding, q, _ := strings.Cut(strings.TrimSpace(part), ";")
			if weight, found := strings.CutPrefix(strings.ReplaceAll(q, " ", ""), "q="); strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				n, err := strconv.ParseFloat(weight, 64)
				return !found || err == nil && n > 0
			}
		}
	}
	return false
}

// runtimeText is the text of the go_* and process_* families.
func (c *Collector) runtimeText() []byte {
	if c.runtime == nil {
		return nil
	}
	families, err := c.runtime.Gather()
	if err != nil {
		c.log.Error("a scrape failed", "err", err)
	}
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			c.log.Error("a scrape failed", "err", err)
		}
	}
	return []byte(b.String())
}

// shape is a histogram that can be shown.
type shape interface {
	show(c *Collector) *dto.Histogram
	// classic returns the bounds of the buckets, how many are in each (not cumulative), and in all, and the sum.
	classic() (bounds []float64, counts []uint64, total uint64, sum float64)
}
