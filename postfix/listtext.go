package postfix

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sparemx/sparemx/queue"
)

// decodeText reads "postqueue -p" (showq(8) before Postfix 3.1, and any later one):
//
//	-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------
//	3F2A61A05B*     1234 Sat Nov 21 04:40:17  sender@example.org
//	(connect to mx1.example.org[192.0.2.1]:25: Connection refused)
//	                                         user@example.org
//
// A "*" marks active, "!" hold, "#" forced to expire (3.5). Times have no year: the last such day that is not more than a day ahead.
// Of incoming and deferred messages it tells only by the reason which is which.
func decodeText(r *bufio.Reader, emit func(*queue.Message) error) error {
	return decodeTextAt(r, emit, time.Now())
}

func decodeTextAt(r *bufio.Reader, emit func(*queue.Message) error, now time.Time) error {
	var m queue.Message
	open := false
	reason := ""
	end := func() error {
		if !open {
			return nil
		}
		open, reason = false, ""
		if m.Place == queue.Deferred && len(m.Recipients) > 0 && m.Recipients[0].Reason == "" {
			m.Place = queue.Incoming
		}
		err := emit(&m)
		m = queue.Message{}
		return err
	}
	for {
		line, err := readLine(r, maxLine)
		if len(line) == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return end()
			}
			return err
		}
		text := strings.TrimRight(string(line), "\r\n")
		switch {
		case strings.TrimSpace(text) == "":
			if err := end(); err != nil {
				return err
			}
		case strings.HasPrefix(text, "-"), strings.HasPrefix(text, "Mail queue is empty"):
		case !open:
			var ok bool
			if m, ok = textHead(text, now); !ok {
				return fmt.Errorf("postqueue -p: a line that is no message: %.100q", text)
			}
			open = true
		case strings.HasPrefix(strings.TrimLeft(text, " "), "("):
			reason = strings.TrimSuffix(strings.TrimPrefix(strings.TrimLeft(text, " "), "("), ")")
		default:
			m.Recipients = append(m.Recipients, queue.Recipient{Address: strings.TrimSpace(text), Reason: reason})
		}
	}
}

func textHead(line string, now time.Time) (queue.Message, bool) {
	f := strings.Fields(line)
	if len(f) < 6 {
		return queue.Message{}, false
	}
	m := queue.Message{Place: queue.Deferred}
	id := f[0]
	for id != "" && strings.IndexByte("*!#", id[len(id)-1]) >= 0 {
		switch id[len(id)-1] {
		case '*':
			m.Place = queue.Active
		case '!':
			m.Place = queue.Hold
		case '#':
			m.Forced = true
		}
		id = id[:len(id)-1]
	}
	size, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || size < 0 || !validID(id) {
		return queue.Message{}, false
	}
	at, err := time.ParseInLocation("Jan 2 15:04:05 2006", strings.Join(f[3:6], " ")+" "+strconv.Itoa(now.Year()), now.Location())
	if err != nil {
		// 29 February does not exist in each year; nothing better can be told then.
		if at, err = time.ParseInLocation("Jan 2 15:04:05 2006", strings.Join(f[3:6], " ")+" "+strconv.Itoa(now.Year()-1), now.Location()); err != nil {
			return queue.Message{}, false
		}
	}
	if at.After(now.Add(24 * time.Hour)) {
		at = at.AddDate(-1, 0, 0)
	}
	m.ID, m.Size, m.Arrived = id, size, at
	if len(f) > 6 {
		m.Sender = sender(strings.Join(f[6:], " "))
	}
	return m, true
}

// sender turns showq's name for the null sender (empty_address_recipient as showq(8) writes it) into what it is.
func sender(s string) string {
	if s == "MAILER-DAEMON" {
		return ""
	}
	return s
}
