package main

import (
	"fmt"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/status"
)

// oneLine makes text from strangers safe to show on a terminal.
func oneLine(s string) string { return alert.Clean(s, 400) }

// bytesText writes a size as people say it: "4.2 kB".
func bytesText(n int64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// ageText writes a length of time in at most two units: "3 s", "17 min", "2 h 5 min".
func ageText(d time.Duration) string { return status.Ago(d) }
