package smtp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// TLS is what is asked of STARTTLS. The zero TLS takes any certificate: opportunistic (RFC 7435); whether to go on in clear is the
// caller's decision, on a new connection, since a failed handshake spoils the old one.
type TLS struct {
	Name         string         // sent as SNI; checked only with Verify
	Verify       bool           // the certificate must be valid for Name, or be one of Fingerprints
	Fingerprints []string       // SHA-256 of a certificate or public key (SPKI), hex, colons allowed; with them no CA is asked
	Roots        *x509.CertPool // nil: the system's
}

// StartTLS asks for TLS and shakes hands. After it EHLO must be said again (RFC 3207 section 4.2). Error kinds: Refused when the server
// will not now (the connection is good for going on in clear), Argument for a fingerprint that is none, Insecure otherwise unless time or the connection ended.
func (c *Conn) StartTLS(ctx context.Context, want TLS) error {
	pins := make(map[string]bool)
	for _, f := range want.Fingerprints {
		h := strings.ToLower(strings.ReplaceAll(f, ":", ""))
		if b, err := hex.DecodeString(h); err != nil || len(b) != sha256.Size {
			return argument(StepSTARTTLS, fmt.Sprintf("%q is not a SHA-256 fingerprint in hex", f))
		}
		pins[h] = true
	}
	if _, err := c.command(ctx, StepSTARTTLS, "STARTTLS"); err != nil {
		return err
	}
	if c.r.Buffered() > 0 { // CVE-2011-0411: text injected before the handshake would pass for text inside
		return &Error{Step: StepSTARTTLS, Kind: Insecure, Err: errors.New("the server went on talking in clear after STARTTLS")}
	}
	name := strings.TrimSuffix(want.Name, ".")
	cfg := &tls.Config{
		ServerName:         name,
		RootCAs:            want.Roots,
		MinVersion:         tls.VersionTLS12,              // RFC 8996
		InsecureSkipVerify: !want.Verify || len(pins) > 0, // pins are checked below
	}
	if !want.Verify {
		cfg.MinVersion = tls.VersionTLS10 // RFC 7435 section 3: better than clear
	} else if len(pins) > 0 {
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			if leaf := s.PeerCertificates[0]; pins[sum(leaf.Raw)] || pins[sum(leaf.RawSubjectPublicKeyInfo)] {
				return nil
			}
			return errors.New("the certificate's fingerprint is none of those configured")
		}
	}
	taken := c.timings[StepSTARTTLS]
	end := c.begin(ctx, StepSTARTTLS)
	tc := tls.Client(c.conn, cfg)
	err := tc.HandshakeContext(ctx)
	end()
	c.timings[StepSTARTTLS] += taken
	if err != nil {
		kind := kindOf(ctx, err)
		if kind == Other || kind == Lost {
			kind = Insecure
		}
		return &Error{Step: StepSTARTTLS, Kind: kind, Err: err}
	}
	state := tc.ConnectionState()
	c.tls, c.ext = &state, nil
	c.attach(tc)
	return nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
