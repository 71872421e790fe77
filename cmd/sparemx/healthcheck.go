package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

func (c *cli) addHealthcheck(app *kingpin.Application) {
	cmd := app.Command("healthcheck", "Ask the running agent whether it is well: exit 0 if it is. For containers and service managers.")
	ready := cmd.Flag("ready", "Ask whether it is ready instead: has it looked at everything once?").Bool()
	cmd.Action(func(*kingpin.ParseContext) error {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		path := "/-/healthy"
		if *ready {
			path = "/-/ready"
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		// The socket first: it needs no TLS and no password. The port only where there is no socket.
		body, err := askSocket(ctx, cfg.Control, http.MethodGet, path, nil)
		if err == nil {
			fmt.Fprintf(c.out, "%s\n", body)
			return nil
		}
		if _, answered := err.(*controlError); !answered && len(cfg.Web.Listen) > 0 {
			if werr := askPort(ctx, cfg.Web.Listen[0], path); werr == nil {
				fmt.Fprintln(c.out, "OK")
				return nil
			}
		}
		return err
	})
}

func askPort(ctx context.Context, listen, path string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	// The certificate is not what is asked about, and on this host it need not be for "localhost".
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	for _, scheme := range []string{"http", "https"} {
		req, rerr := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+path, nil)
		if rerr != nil {
			return rerr
		}
		resp, derr := client.Do(req)
		if derr != nil {
			err = derr
			continue
		}
		resp.Body.Close()
		// 401: somebody is there and asks for a password.
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized {
			return nil
		}
		err = fmt.Errorf("%s answered %s", path, resp.Status)
	}
	return err
}
