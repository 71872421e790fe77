package postfix

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sparemx/sparemx/queue"
)

// Queue is the held mail of one or several instances. It implements queue.Queue. Listing and flushing need the group
// postdrop, no more; a configuration directory that is not the default one must be in alternate_config_directories or
// multi_instance_directories of the default main.cf.
type Queue struct {
	Instances []Instance
	Run       Runner        // nil: Run
	Timeout   time.Duration // for one listing of one instance; 0: 1 min
	Parallel  int           // "postqueue -i" commands at once; 0: 4
}

var _ queue.Queue = (*Queue)(nil)

// maxLine bounds one object of a listing: some 50,000 recipients with their reasons.
const maxLine = 16 << 20

// Messages implements queue.Queue. It never holds the list: one message at a time is decoded and yielded while postqueue
// writes the next ones, so a slow consumer uses up the time limit. Each instance is tried; the errors come last, joined in one.
func (q *Queue) Messages(ctx context.Context) iter.Seq2[queue.Message, error] {
	return func(yield func(queue.Message, error) bool) {
		var wrong []error
		for _, inst := range q.Instances {
			if err := q.list(ctx, inst, yield); errors.Is(err, errEnough) {
				return
			} else if err != nil {
				wrong = append(wrong, err)
			}
		}
		if err := errors.Join(wrong...); err != nil {
			yield(queue.Message{}, err)
		}
	}
}

// errEnough ends a listing because the consumer wants no more.
var errEnough = errors.New("enough")

func (q *Queue) list(ctx context.Context, inst Instance, yield func(queue.Message, error) bool) error {
	limit := q.Timeout
	if limit <= 0 {
		limit = time.Minute
	}
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end))
	}
	listing, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// postqueue -j since 3.1. A version that is not known is taken for a new one.
	arg, decode := "-j", decodeJSON
	if v := inst.Version; v != (Version{}) && !v.AtLeast(3, 1) {
		arg, decode = "-p", decodeText
	}
	emit := func(m *queue.Message) error {
		m.Instance = inst.Name
		if !yield(*m, nil) {
			return errEnough
		}
		return nil
	}
	err := q.run()(listing, Command{
		Argv: []string{inst.command("postqueue"), "-c", inst.ConfigDir, arg},
		Bulk: true,
		Read: func(r io.Reader) error { return decode(bufio.NewReaderSize(r, 64<<10), emit) },
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: queue of %s: postqueue %s has not finished within %v: does it hang? postfix -c %s status",
			ErrTimeout, inst.Name, arg, limit.Round(10*time.Millisecond), inst.ConfigDir)
	}
	return explainQueue(err, inst, "")
}

func (q *Queue) run() Runner {
	if q.Run == nil {
		return Run
	}
	return q.Run
}

// flushLimit is how long one flush command may take; it only asks.
const flushLimit = 30 * time.Second

// Flush implements queue.Queue. IDs are asked for one by one ("postqueue -i ID", a few at once), then the domain ("-s"), then all
// ("-f"). An ID that is not there, or is active or on hold, is no error and nothing happens to it. A domain outside
// fast_flush_domains is [ErrNotFlushable]. With several instances and no sel.Instance each is asked.
func (q *Queue) Flush(ctx context.Context, sel queue.Selection) error {
	var wrong []error
	known := false
	for _, inst := range q.Instances {
		if sel.Instance != "" && sel.Instance != inst.Name {
			continue
		}
		known = true
		wrong = append(wrong, q.flushIDs(ctx, inst, sel.IDs))
		if sel.Domain != "" {
			if !validHost(sel.Domain) && !strings.HasPrefix(sel.Domain, "[") || sel.Domain[0] == '-' {
				wrong = append(wrong, fmt.Errorf("%q is not a domain", sel.Domain))
			} else {
				wrong = append(wrong, q.flush(ctx, inst, "-s", sel.Domain))
			}
		}
		if sel.All {
			wrong = append(wrong, q.flush(ctx, inst, "-f"))
		}
	}
	if !known && sel.Instance != "" {
		return fmt.Errorf("there is no Postfix instance %q here", sel.Instance)
	}
	return errors.Join(wrong...)
}

func (q *Queue) flushIDs(ctx context.Context, inst Instance, ids []string) error {
	n := q.Parallel
	if n <= 0 {
		n = 4
	}
	n = min(n, len(ids))
	if n <= 1 {
		for _, id := range ids {
			if err := q.flushID(ctx, inst, id); err != nil {
				return err // what stops one stops all: rights, Postfix down
			}
		}
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan string)
	var done sync.WaitGroup
	for range n {
		done.Go(func() {
			for id := range next {
				if err := q.flushID(ctx, inst, id); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for _, id := range ids {
		select {
		case next <- id:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	done.Wait()
	return context.Cause(ctx)
}

func (q *Queue) flushID(ctx context.Context, inst Instance, id string) error {
	if !validID(id) {
		return fmt.Errorf("%.80q is not a queue ID", id)
	}
	return q.flush(ctx, inst, "-i", id)
}

func (q *Queue) flush(ctx context.Context, inst Instance, args ...string) error {
	asking, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	err := q.run()(asking, Command{Argv: append([]string{inst.command("postqueue"), "-c", inst.ConfigDir}, args...)})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("%w: %s: postqueue %s has not answered within %v", ErrTimeout, inst.Name, args[0], flushLimit)
	}
	domain := ""
	if args[0] == "-s" {
		domain = args[1]
	}
	return explainQueue(err, inst, domain)
}

// validID tells whether s has the form of a queue ID, short (hex) or long (letters and digits): global/mail_queue.c mail_queue_id_ok.
func validID(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	for i := range len(s) {
		if b := s[i]; !(b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' || b == '_') {
			return false
		}
	}
	return true
}

// explainQueue makes a typed error of what postqueue complains about. Every trouble of it is exit 69 or 75 with a line on the
// standard error.
func explainQueue(err error, inst Instance, domain string) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %v: install it (apt-get install postfix)", ErrNotFound, err)
	}
	var e *ExitError
	if !errors.As(err, &e) {
		return err
	}
	says := strings.ToLower(e.Stderr)
	why := complaint(e.Stderr)
	has := func(s string) bool { return strings.Contains(says, s) }
	switch {
	case domain != "" && (has("not configured for destination") || has("not configured for site")):
		return fmt.Errorf("%w: %s (%s): postconf -c %s -e 'fast_flush_domains = $relay_domains, %s' && postfix -c %s reload",
			ErrNotFlushable, domain, why, inst.ConfigDir, domain, inst.ConfigDir)
	case has("alternate_config_directories"), has("unauthorized configuration directory"):
		return fmt.Errorf("%w: config directory %s is not in alternate_config_directories: as root: postconf -e 'alternate_config_directories = %s' (keep what it lists already)",
			ErrNoRights, inst.ConfigDir, inst.ConfigDir)
	case has("not allowed to view the mail queue"), has("not allowed to view mail queue"):
		return fmt.Errorf("%w: %s: postconf -c %s -e 'authorized_mailq_users = USER, root' (USER: whom sparemx runs as)", ErrNoRights, why, inst.ConfigDir)
	case has("not allowed to flush"):
		return fmt.Errorf("%w: %s: postconf -c %s -e 'authorized_flush_users = USER, root' (USER: whom sparemx runs as)", ErrNoRights, why, inst.ConfigDir)
	case has("mail system is down"), has("no such file or directory") && has("showq"), has("connection refused"):
		return fmt.Errorf("%w: %s: postfix -c %s start", ErrStopped, why, inst.ConfigDir)
	case has("permission denied"):
		return fmt.Errorf("%w: %s: add the user sparemx runs as to the group postdrop (usermod -aG postdrop USER) and start it again", ErrNoRights, why)
	}
	return fmt.Errorf("queue of %s: %w (exit status %d)", inst.Name, e, e.Code)
}
