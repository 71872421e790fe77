package collector

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// histogram counts values in classic and native buckets at once. It is not safe for concurrent use: the tally's lock guards it,
// taken once for all that a line says, which is what makes it cheaper than prometheus.Histogram on the hot path (no map, no
// atomic). A test holds both against each other.
//
// The native buckets have schema 3: eight to each power of two, so a bucket is at most 9 % wide (the bucket factor 1.1 of
// client_golang). Their number is bounded by the range: values beyond it count in the outermost bucket.
type histogram struct {
	bounds []float64 // of the classic buckets, ascending
	counts []uint64  // one more than bounds
	native [(nativeTop - nativeBottom) * nativePerOctave]uint64
	zero   uint64 // values of 0 or less
	count  uint64
	sum    float64
}

const (
	nativeSchema    = 3
	nativePerOctave = 1 << nativeSchema
	nativeBottom    = -20 // the smallest power of two kept apart: 1e-6
	nativeTop       = 34  // values up to 2^34: 1.7e10 bytes, 540 years
	// zeroThreshold is the default of client_golang (DefNativeHistogramZeroThreshold).
	zeroThreshold = 2.938735877055719e-39
)

func newHistogram(bounds []float64) *histogram {
	return &histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

// observe counts v once. NaN is not counted.
func (h *histogram) observe(v float64) {
	if v != v {
		return
	}
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i]++
	h.count++
	h.sum += v
	if v <= zeroThreshold {
		h.zero++
		return
	}
	h.native[min(max(nativeKey(v)-nativeFirst, 0), len(h.native)-1)]++
}

// nativeFirst is the key of native[0].
const nativeFirst = (nativeBottom-1)*nativePerOctave + 1

// nativeKey is the index of the native bucket of v > 0: bucket k holds (2^((k-1)/8), 2^(k/8)].
func nativeKey(v float64) int {
	frac, exp := math.Frexp(v) // 0.5 <= frac < 1
	// upper bounds of the eight buckets of [0.5, 1): 2^(i/8) / 2
	k := 0
	switch {
	case frac <= 0.5:
	case frac <= 0.5452538663326288:
		k = 1
	case frac <= 0.5946035575013605:
		k = 2
	case frac <= 0.6484197773255048:
		k = 3
	case frac <= 0.7071067811865475:
		k = 4
	case frac <= 0.7711054127039704:
		k = 5
	case frac <= 0.8408964152537144:
		k = 6
	case frac <= 0.9170040432046711:
		k = 7
	default:
		k = 8
	}
	return k + (exp-1)*nativePerOctave
}

// histogramMetric is a histogram as it is shown, and never changes.
type histogramMetric struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	h      *dto.Histogram
}

func (m *histogramMetric) Desc() *prometheus.Desc { return m.desc }

func (m *histogramMetric) Write(out *dto.Metric) error {
	out.Histogram, out.Label = m.h, m.labels
	return nil
}

func (h *histogram) classic() ([]float64, []uint64, uint64, float64) {
	return h.bounds, h.counts, h.count, h.sum
}

// show returns h as prometheus.Histogram shows one with both kinds of buckets.
func (h *histogram) show(c *Collector) *dto.Histogram {
	d := &dto.Histogram{
		SampleCount: proto.Uint64(h.count), SampleSum: proto.Float64(h.sum), CreatedTimestamp: c.created,
		Schema: proto.Int32(nativeSchema), ZeroThreshold: proto.Float64(zeroThreshold), ZeroCount: proto.Uint64(h.zero),
		Bucket: make([]*dto.Bucket, len(h.bounds)),
	}
	var sum uint64
	for i, b := range h.bounds {
		sum += h.counts[i]
		d.Bucket[i] = &dto.Bucket{CumulativeCount: proto.Uint64(sum), UpperBound: proto.Float64(b)}
	}
	if h.zero == h.count { // nothing in the native ones
		return d
	}
	var last int64
	next := 0
	add := func(n uint64) {
		s := d.PositiveSpan[len(d.PositiveSpan)-1]
		*s.Length++
		d.PositiveDelta = append(d.PositiveDelta, int64(n)-last)
		last = int64(n)
	}
	for i, n := range h.native {
		if n == 0 {
			continue
		}
		key := i + nativeFirst
		gap := key - next
		if len(d.PositiveSpan) == 0 || gap > 2 { // a gap of one or two costs less as empty buckets
			d.PositiveSpan = append(d.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(int32(gap)), Length: proto.Uint32(0)})
		} else {
			for range gap {
				add(0)
			}
		}
		add(n)
		next = key + 1
	}
	return d
}
