package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// explain finds out why etcd does not answer. Its client retries until the
// request's time is over and then knows no more than that, whatever stands in
// the way: a port that is closed or a certificate that has expired.
func (c *Client) explain(ctx context.Context, err error) error {
	if !errors.Is(err, ErrAway) {
		return err
	}
	cause := c.diagnose(ctx)
	if cause == nil {
		return err
	}
	c.mu.Lock()
	c.cause = cause
	c.mu.Unlock()
	return c.seen("reach etcd", err)
}

// diagnose asks each server for its version, which etcd tells by HTTP on the
// port that clients use, and says what each does instead; nil where one
// answers.
func (c *Client) diagnose(ctx context.Context) error {
	transport := &http.Transport{DialContext: c.options.Dial, TLSClientConfig: c.options.TLS.Clone(), DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: lagPatience}
	var errs []error
	for _, server := range c.options.Servers {
		err := version(ctx, client, server)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
	}
	return errors.Join(errs...)
}

func version(ctx context.Context, client *http.Client, server string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+"/version", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		if req.URL.Scheme == "http" && errors.Is(err, io.EOF) {
			return errors.New("it hangs up on plain HTTP; if it speaks TLS, write https:// and give tls-ca")
		}
		return inWords(err)
	}
	return resp.Body.Close()
}

// inWords says of an error what can be done about it.
func inWords(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var plain tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("its certificate is not signed by a CA of tls-ca: %w", unknown)
	case errors.As(err, &name):
		return fmt.Errorf("its certificate is for another name or address: %w", name)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("its certificate was valid until %s; renew it, or set this host's clock", invalid.Cert.NotAfter.Format(time.RFC3339))
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		return errors.New("it does not speak TLS; write http://")
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("it refuses this host's certificate; see tls-cert and tls-key: %w", op)
	}
	return err
}
