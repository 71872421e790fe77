package outage

import (
	"bytes"
	"strconv"
)

func rejectLine(keys map[uint64]struct{}) []byte {
	b := []byte("j ")
	for k := range keys {
		b = strconv.AppendUint(b, k, 16)
		b = append(b, ' ')
	}
	return b
}

func (r *record) loadRejects(body []byte) error {
	keys := map[uint64]struct{}{}
	for f := range bytes.FieldsSeq(body) {
		k, err := strconv.ParseUint(string(f), 16, 64)
		if err != nil {
			return err
		}
		keys[k] = struct{}{}
	}
	r.rejects = [2]map[uint64]struct{}{keys, r.rejects[0]}
	return nil
}
