package queue

import "slices"

// Histogram counts values in buckets with upper bounds, as Prometheus does but not cumulative: Counts[i] holds the values v with
// Bounds[i-1] < v <= Bounds[i], and the last one, beyond all bounds, those that are greater.
type Histogram struct {
	Bounds []float64 // ascending; shared, not to be changed
	Counts []uint64  // len(Bounds)+1
	Sum    float64
	Count  uint64
}

// NewHistogram returns an empty histogram over bounds, which it keeps.
func NewHistogram(bounds []float64) Histogram {
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
}

// Add counts v.
func (h *Histogram) Add(v float64) {
	i, _ := slices.BinarySearch(h.Bounds, v)
	h.Counts[i]++
	h.Sum += v
	h.Count++
}

// Cumulative returns the number of values up to each bound, as client_golang's NewConstHistogram takes it.
func (h Histogram) Cumulative() map[float64]uint64 {
	m := make(map[float64]uint64, len(h.Bounds))
	var sum uint64
	for i, b := range h.Bounds {
		sum += h.Counts[i]
		m[b] = sum
	}
	return m
}

// AgeBounds are the bounds, in seconds, of the ages of held mail: from a minute to 21 days.
func AgeBounds() []float64 {
	return []float64{60, 300, 900, 3600, 14400, 43200, 86400, 172800, 259200, 432000, 864000, 1814400}
}

// CompatAgeBounds are the bounds, in seconds, that existing dashboards know, with finer ones between.
func CompatAgeBounds() []float64 {
	return []float64{1e1, 1e2, 300, 900, 1e3, 3600, 1e4, 14400, 43200, 86400, 1e5, 172800, 259200, 432000, 1e6, 1e7, 1e8}
}

// CompatSizeBounds are the bounds, in bytes, that existing dashboards know.
func CompatSizeBounds() []float64 { return []float64{1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9} }
