package queue

import "strconv"

// ParseCode reads an enhanced status code "5.1.1" (RFC 3463 section 2) and returns the zero Code for anything else.
func ParseCode[T string | []byte](s T) Code {
	if len(s) < 5 || s[1] != '.' || (s[0] != '2' && s[0] != '4' && s[0] != '5') {
		return Code{}
	}
	var part [2]uint16
	i := 2
	for p := range part {
		start := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' && i-start < 3 {
			part[p] = part[p]*10 + uint16(s[i]-'0')
			i++
		}
		if i == start {
			return Code{}
		}
		if p == 0 {
			if i >= len(s) || s[i] != '.' {
				return Code{}
			}
			i++
		}
	}
	if i != len(s) {
		return Code{}
	}
	return Code{s[0] - '0', part[0], part[1]}
}

// String returns "5.1.1", "" for the zero Code.
func (c Code) String() string {
	if c == (Code{}) {
		return ""
	}
	b := make([]byte, 0, 9)
	b = append(b, '0'+c.Class, '.')
	b = strconv.AppendUint(b, uint64(c.Subject), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(c.Detail), 10)
	return string(b)
}
