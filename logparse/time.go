package logparse

import (
	"time"
)

// clock turns time stamps into times. It remembers the last one, because most lines of a log share their second with the line before.
type clock struct {
	text  [19]byte // the last stamp's text up to its seconds
	zone  [6]byte
	n     int // used bytes of text; 0: nothing remembered
	nZone int
	loc   *time.Location
	at    time.Time
	walk  *yearWalk // not nil: years of year-less stamps come from here, not from now
}

const day = 24 * time.Hour

// short reads the 15 bytes of an RFC 3164 stamp "Nov  1 02:16:00" (section 4.1.2), local time of now's location. The year is the
// latest that puts the time at most a day after now.
func (c *clock) short(s []byte, now time.Time) (time.Time, bool) {
	if c.n == 15 && string(s) == string(c.text[:15]) && c.loc == now.Location() {
		if c.walk != nil {
			return c.at, true
		}
		// Also now may have moved on since: the answer holds until the same stamp a year later would be near enough.
		if ahead := c.at.Sub(now); ahead <= day && ahead > -363*day {
			return c.at, true
		}
	}
	month, dom, hh, mm, ss, ok := shortFields(s)
	if !ok {
		return time.Time{}, false
	}
	var at time.Time
	if c.walk != nil {
		at = date(c.walk.step(month, dom), month, dom, hh, mm, ss, now.Location())
	} else {
		at = latest(now, month, dom, hh, mm, ss)
	}
	c.n, c.loc, c.at = copy(c.text[:], s[:15]), now.Location(), at
	return at, true
}

// shortFields reads "Mmm dd hh:mm:ss".
func shortFields(s []byte) (month time.Month, dom, hh, mm, ss int, ok bool) {
	if len(s) < 15 || s[3] != ' ' || s[6] != ' ' || s[9] != ':' || s[12] != ':' {
		return
	}
	if month = monthOf(s); month == 0 {
		return
	}
	if s[4] == ' ' {
		dom = int(s[5] - '0')
	} else {
		dom = two(s[4:])
	}
	hh, mm, ss = two(s[7:]), two(s[10:]), two(s[13:])
	ok = dom >= 1 && dom <= 31 && hh >= 0 && hh < 24 && mm >= 0 && mm < 60 && ss >= 0 && ss <= 60
	return
}

// latest returns the stamp in the latest year that has such a day and in which it is at most a day after now.
func latest(now time.Time, month time.Month, dom, hh, mm, ss int) time.Time {
	limit := now.Add(day)
	for y := limit.Year(); y > limit.Year()-9; y-- { // 8 years without a 29th of February: 1896 to 1904
		t := time.Date(y, month, dom, hh, mm, ss, 0, now.Location())
		if !t.After(limit) && (month != time.February || dom < 29 || t.Month() == month) {
			return t
		}
	}
	return date(limit.Year()-1, month, dom, hh, mm, ss, now.Location())
}

// date is time.Date, but the 29th of February of a year without one is the 28th, not a day of March.
func date(y int, month time.Month, dom, hh, mm, ss int, loc *time.Location) time.Time {
	t := time.Date(y, month, dom, hh, mm, ss, 0, loc)
	if month == time.February && t.Month() == time.March {
		t = t.AddDate(0, 0, -t.Day())
	}
	return t
}

// iso reads an RFC 3339 stamp: "2026-11-21T02:16:00", with or without a fraction, then "Z", "+01:00", "+0100" (journalctl -o
// short-iso) or nothing: local time of now's location. It returns how many bytes it took. The result is in now's location.
func (c *clock) iso(s []byte, now time.Time) (time.Time, int, bool) {
	if len(s) < 19 {
		return time.Time{}, 0, false
	}
	i := 19
	var ns, scale int64 = 0, 100_000_000
	if i < len(s) && (s[i] == '.' || s[i] == ',') {
		for i++; i < len(s) && s[i]-'0' <= 9; i++ {
			ns += int64(s[i]-'0') * scale
			scale /= 10
		}
	}
	z := i
	if i < len(s) {
		switch s[i] {
		case 'Z':
			i++
		case '+', '-':
			if i += 5; i < len(s) && i > 2 && s[i-2] == ':' {
				i++
			}
			if i > len(s) {
				return time.Time{}, 0, false
			}
		}
	}
	zone := s[z:i]
	if c.n == 19 && string(s[:19]) == string(c.text[:]) && string(zone) == string(c.zone[:c.nZone]) && c.loc == now.Location() {
		return c.at.Add(time.Duration(ns)), i, true
	}
	at, ok := isoFields(s, zone, now.Location())
	if !ok {
		return time.Time{}, 0, false
	}
	c.n, c.nZone, c.loc, c.at = copy(c.text[:], s[:19]), copy(c.zone[:], zone), now.Location(), at
	return at.Add(time.Duration(ns)), i, true
}

func isoFields(s, zone []byte, loc *time.Location) (time.Time, bool) {
	if s[4] != '-' || s[7] != '-' || (s[10] != 'T' && s[10] != ' ') || s[13] != ':' || s[16] != ':' {
		return time.Time{}, false
	}
	century, yy, month, dom := two(s), two(s[2:]), two(s[5:]), two(s[8:])
	hh, mm, ss := two(s[11:]), two(s[14:]), two(s[17:])
	if century < 0 || yy < 0 || month < 1 || month > 12 || dom < 1 || dom > 31 || hh < 0 || hh > 23 || mm < 0 || mm > 59 || ss < 0 || ss > 60 {
		return time.Time{}, false
	}
	year := century*100 + yy
	if len(zone) == 0 {
		return time.Date(year, time.Month(month), dom, hh, mm, ss, 0, loc), true
	}
	offset := 0
	if zone[0] != 'Z' {
		zh, zm := two(zone[1:]), two(zone[len(zone)-2:])
		if zh < 0 || zh > 23 || zm < 0 || zm > 59 {
			return time.Time{}, false
		}
		if offset = zh*3600 + zm*60; zone[0] == '-' {
			offset = -offset
		}
	}
	t := time.Date(year, time.Month(month), dom, hh, mm, ss, 0, time.UTC)
	return t.Add(-time.Duration(offset) * time.Second).In(loc), true
}

// two reads two digits; a negative number for anything else.
func two(s []byte) int {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

func monthOf(s []byte) time.Month {
	switch string(s[:3]) {
	case "Jan":
		return time.January
	case "Feb":
		return time.February
	case "Mar":
		return time.March
	case "Apr":
		return time.April
	case "May":
		return time.May
	case "Jun":
		return time.June
	case "Jul":
		return time.July
	case "Aug":
		return time.August
	case "Sep":
		return time.September
	case "Oct":
		return time.October
	case "Nov":
		return time.November
	case "Dec":
		return time.December
	}
	return 0
}

// yearWalk gives years to stamps without one, in the order of a file: a step back by more than half a year (December to January) is a
// new year. A line that comes a little late (of December after the first one of January) keeps the year before.
type yearWalk struct {
	year int
	last int // place in the year, in months of 31 days; 0: no line yet
}

func (w *yearWalk) step(month time.Month, dom int) int {
	const year, late = 12 * 31, 2
	at := int(month)*31 + dom
	switch d := at - w.last; {
	case w.last == 0:
	case d < -year/2:
		w.year++
	case d >= year-late:
		return w.year - 1
	}
	w.last = at
	return w.year
}
