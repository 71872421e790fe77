package outage

// maxRejectKeys is how many of the last refusals are known one by one, so that a line of the log told again after a crash counts once.
const maxRejectKeys = 20_000

// rejectKeys are the last refusals that were counted.
type rejectKeys struct {
	known map[uint64]struct{}
	order []uint64 // a ring once it is full
	next  int
	fresh []uint64 // not in the journal yet
}

// add reports whether key was not known.
func (k *rejectKeys) add(key uint64) bool {
	if _, twice := k.known[key]; twice {
		return false
	}
	if k.known == nil {
		k.known = map[uint64]struct{}{}
	}
	k.known[key] = struct{}{}
	if len(k.order) < maxRejectKeys {
		k.order = append(k.order, key)
	} else {
		delete(k.known, k.order[k.next])
		k.order[k.next] = key
		k.next = (k.next + 1) % maxRejectKeys
	}
	if len(k.fresh) < maxRejectKeys {
		k.fresh = append(k.fresh, key)
	}
	return true
}
