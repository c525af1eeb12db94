package agentflags

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"time"
)

// tlsOfFiles reads the certificates and refuses those that no server would
// take: better now than in a log line that repeats.
func (f *Flags) tlsOfFiles() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		raw, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, f.wrong("tls-ca", "%w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(raw) {
			return nil, f.wrong("tls-ca", "%s has no certificate in PEM form", f.ca)
		}
	}
	if f.cert == "" && f.key == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, f.wrong("tls-cert", "with tls-key %s: %w", f.key, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) || now.Before(pair.Leaf.NotBefore) {
		return nil, f.wrong("tls-cert", "%s is valid from %s to %s; renew it", f.cert,
			pair.Leaf.NotBefore.Format(time.RFC3339), pair.Leaf.NotAfter.Format(time.RFC3339))
	}
	// Read anew for each connection: certificates are renewed while agents run.
	cert, key := f.cert, f.key
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}
	return c, nil
}
