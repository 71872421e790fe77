package smtp

import (
	"context"
	"strings"
)

// Mail begins a transaction. from is without <>, "" for the null sender; params are like "SIZE=1000", "BODY=8BITMIME".
func (c *Conn) Mail(ctx context.Context, from string, params ...string) (Reply, error) {
	line, err := pathCommand(StepMAIL, "MAIL FROM:<", from, params)
	if err != nil {
		return Reply{}, err
	}
	return c.command(ctx, StepMAIL, line)
}

// Rcpt adds a recipient. to is without <>.
func (c *Conn) Rcpt(ctx context.Context, to string, params ...string) (Reply, error) {
	if to == "" {
		return Reply{}, argument(StepRCPT, "an empty recipient")
	}
	line, err := pathCommand(StepRCPT, "RCPT TO:<", to, params)
	if err != nil {
		return Reply{}, err
	}
	return c.command(ctx, StepRCPT, line)
}

func pathCommand(step Step, verb, address string, params []string) (string, error) {
	if err := checkPath(step, address); err != nil {
		return "", err
	}
	for _, p := range params {
		if err := checkParam(step, p); err != nil {
			return "", err
		}
	}
	return strings.Join(append([]string{verb + address + ">"}, params...), " "), nil
}
