package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
)

// authority signs certificates for the tests. All files are in dir.
type authority struct {
	t    *testing.T
	dir  string
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: dir, name: name}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = template, a.newKey()
	raw := a.sign(template, a.key)
	a.write(name+".pem", "CERTIFICATE", raw)
	var err error
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return raw
}

func (a *authority) write(name, kind string, raw []byte) {
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME.key, for etcd's address and for a client.
func (a *authority) issue(name string, until time.Time) {
	a.t.Helper()
	key := a.newKey()
	a.write(name+".pem", "CERTIFICATE", a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, IPAddresses: []net.IP{net.ParseIP("192.0.2.100")},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key))
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".key", "PRIVATE KEY", raw)
}

// startTLS starts an etcd that demands certificates of its clients.
func (c *cluster) startTLS(dir, cert string, port int, addrs ...string) {
	c.Helper()
	var urls []string
	for _, a := range addrs {
		urls = append(urls, fmt.Sprintf("https://%s:%d", a, port))
	}
	c.server.Background("etcd", "--data-dir", fmt.Sprintf("/run/etcd-%d", port), "--listen-client-urls", strings.Join(urls, ","),
		"--advertise-client-urls", urls[0], "--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", port+1),
		"--initial-advertise-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", port+1), "--initial-cluster", fmt.Sprintf("default=http://127.0.0.1:%d", port+1),
		"--cert-file", filepath.Join(dir, cert+".pem"), "--key-file", filepath.Join(dir, cert+".key"),
		"--client-cert-auth", "--trusted-ca-file", filepath.Join(dir, "ca.pem"), "--unsafe-no-fsync", "--log-level", "error")
}

func TestTLSToEtcd(t *testing.T) {
	t.Parallel()
	c, dir := newUnderlay(t), t.TempDir()
	c.server.Run("ip", "address", "add", "192.0.2.101/24", "dev", "eth0")
	ca, other := newAuthority(t, dir, "ca"), newAuthority(t, dir, "other")
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	ca.issue("etcd", soon)
	ca.issue("etcd-expired", past)
	ca.issue("host", soon)
	ca.issue("host-expired", past)
	other.issue("stranger", soon)
	c.startTLS(dir, "etcd", 2379, "192.0.2.100", "192.0.2.101")
	c.startTLS(dir, "etcd-expired", 2479, "192.0.2.100")

	const good = "https://192.0.2.100:2379"
	file := func(name string) string { return filepath.Join(dir, name) }
	client := func(name string) []string {
		return []string{"--tls-cert", file(name + ".pem"), "--tls-key", file(name + ".key")}
	}
	trust := []string{"--tls-ca", file("ca.pem")}
	for i, tt := range []struct {
		name  string
		flags [][]string
		want  string // in the error of the status; empty: connected
	}{
		{"right", [][]string{{"--etcd", good}, trust, client("host")}, ""},
		{"wrong CA", [][]string{{"--etcd", good}, {"--tls-ca", file("other.pem")}, client("host")}, "not signed by a CA of tls-ca"},
		{"no client certificate", [][]string{{"--etcd", good}, trust}, "refuses this host's certificate"},
		{"stranger's certificate", [][]string{{"--etcd", good}, trust, client("stranger")}, "refuses this host's certificate"},
		{"another address", [][]string{{"--etcd", "https://192.0.2.101:2379"}, trust, client("host")}, "for another name or address"},
		{"expired server", [][]string{{"--etcd", "https://192.0.2.100:2479"}, trust, client("host")}, "its certificate was valid until"},
		{"no TLS", [][]string{{"--etcd", "http://192.0.2.100:2379"}}, "hangs up on plain HTTP"},
	} {
		h := nettest.NewHost(t, fmt.Sprintf("h%d", i+1))
		c.underlay.Join(h, "eth0", fmt.Sprintf("192.0.2.%d/24", i+1))
		args := []string{"--name", h.Name}
		for _, some := range tt.flags {
			args = append(args, some...)
		}
		c.startAgent(h, args...)
		defer func() {
			nettest.Eventually(t, "the status with: "+tt.name, func() error {
				out, err := c.tryBerth(h, "agent", "status", "--format", "{{.Cluster.Connected}} {{.Cluster.Error}}")
				if err != nil || !strings.HasPrefix(out, fmt.Sprint(tt.want == "")) || !strings.Contains(out, tt.want) {
					return fmt.Errorf("%v: %s", err, out)
				}
				return nil
			})
			if tt.want != "" && !strings.Contains(c.agents[h].Output(), tt.want) {
				t.Errorf("%s: the agent's log has no %q:\n%s", tt.name, tt.want, c.agents[h].Output())
			}
		}()
	}
	h := nettest.NewHost(t, "h8")
	out, err := c.tryBerth(h, append(append([]string{"agent", "--etcd", good}, trust...), client("host-expired")...)...)
	if err == nil || !strings.Contains(out, "renew it") || !strings.Contains(out, "--tls-cert") {
		t.Errorf("an expired certificate of the host: %v: %s", err, out)
	}
}
