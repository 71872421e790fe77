package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Step is a step of the conversation.
type Step uint8

const (
	StepConnect Step = iota
	StepGreeting
	StepEHLO
	StepSTARTTLS
	StepXCLIENT
	StepXFORWARD
	StepMAIL
	StepRCPT
	StepDATA // the command
	StepBody // the content, and the reply to it; BDAT
	StepRSET
	StepQUIT
	NumSteps
)

var stepNames = [NumSteps]string{"connect", "greeting", "EHLO", "STARTTLS", "XCLIENT", "XFORWARD", "MAIL FROM", "RCPT TO", "DATA", "end of data", "RSET", "QUIT"}

func (s Step) String() string { return stepNames[min(s, NumSteps-1)] }

// Kind is the class of a failure.
type Kind uint8

const (
	Other       Kind = iota
	Refused          // the server's reply was a refusal: Error.Reply
	Denied           // the connection was refused (RST)
	TimedOut         // a deadline passed
	Unreachable      // no route to host
	Lost             // the connection broke or was closed
	Malformed        // the server does not speak SMTP
	Insecure         // TLS was required and not had
	Local            // a fault of this host: no network, no address, no descriptors, no right; the body could not be read
	Canceled         // the caller gave up
	Argument         // what we were asked to send cannot be sent; nothing was
)

var kindNames = [...]string{"failed", "refused", "connection refused", "timed out", "unreachable", "connection lost", "malformed reply", "TLS", "fault of this host", "canceled", "bad argument"}

func (k Kind) String() string { return kindNames[min(int(k), len(kindNames)-1)] }

// Error is what every failure of this package is: at which step, of which kind, and the reply or the error below.
type Error struct {
	Step  Step
	Kind  Kind
	Reply Reply // of Refused
	Err   error // nil if Refused
}

func (e *Error) Error() string {
	switch {
	case e.Kind == Refused:
		return e.Step.String() + ": " + e.Reply.String()
	case e.Kind == TimedOut:
		return e.Step.String() + ": timed out"
	case e.Err == nil:
		return e.Step.String() + ": " + e.Kind.String()
	case e.Kind == Local, e.Kind == Canceled, e.Kind == Insecure, e.Kind == Argument:
		return e.Step.String() + ": " + e.Kind.String() + ": " + Clean(e.Err.Error(), 300)
	}
	return e.Step.String() + ": " + Clean(plain(e.Err), 300)
}

func (e *Error) Unwrap() error { return e.Err }

// plain leaves out the addresses and syscall names around an errno.
func plain(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the server closed the connection"
	}
	return err.Error()
}

// fail wraps err. ctx tells the caller's cancellation from a deadline.
func fail(ctx context.Context, step Step, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Step: step, Kind: kindOf(ctx, err), Err: err}
}

func kindOf(ctx context.Context, err error) Kind {
	var netErr net.Error
	var certErr *tls.CertificateVerificationError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return Canceled
	case isErrno(err, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EMFILE, syscall.ENFILE,
		syscall.EACCES, syscall.EPERM, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRINUSE, syscall.EINVAL):
		return Local
	case isErrno(err, syscall.ECONNREFUSED):
		return Denied
	case isErrno(err, syscall.EHOSTUNREACH, syscall.EHOSTDOWN):
		return Unreachable
	case isErrno(err, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		if ctx.Err() != nil {
			return TimedOut
		}
		return Lost
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return TimedOut
	case errors.Is(err, errMalformed):
		return Malformed
	case errors.As(err, &certErr):
		return Insecure
	}
	return Other
}

func isErrno(err error, list ...syscall.Errno) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return false
	}
	for _, e := range list {
		if errno == e {
			return true
		}
	}
	return false
}

// Timeouts are the deadlines of single steps. A zero field has its value of RFC 5321 section 4.5.3.2.
type Timeouts struct {
	Connect  time.Duration // 30 s, as Postfix's smtp_connect_timeout; the RFC has none
	Greeting time.Duration // 5 min
	Hello    time.Duration // EHLO, STARTTLS, XCLIENT, XFORWARD: 5 min
	Mail     time.Duration // 5 min
	Rcpt     time.Duration // 5 min
	Data     time.Duration // 2 min
	Block    time.Duration // one write of content: 3 min
	Body     time.Duration // the reply to the content: 10 min
	Quit     time.Duration // RSET, QUIT: 5 min
}

func (t *Timeouts) of(s Step) time.Duration {
	d, otherwise := time.Duration(0), 5*time.Minute
	switch s {
	case StepConnect:
		d, otherwise = t.Connect, 30*time.Second
	case StepGreeting:
		d = t.Greeting
	case StepEHLO, StepSTARTTLS, StepXCLIENT, StepXFORWARD:
		d = t.Hello
	case StepMAIL:
		d = t.Mail
	case StepRCPT:
		d = t.Rcpt
	case StepDATA:
		d, otherwise = t.Data, 2*time.Minute
	case StepBody:
		d, otherwise = t.Body, 10*time.Minute
	default:
		d = t.Quit
	}
	if d > 0 {
		return d
	}
	return otherwise
}
