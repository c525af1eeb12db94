package agentflags

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// parsed reads a configuration file with flags beside it.
func parsed(t *testing.T, file string, args ...string) (*Flags, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.conf")
	if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	f, flags := new(Flags), pflag.NewFlagSet("agent", pflag.ContinueOnError)
	f.Define(flags)
	if err := flags.Parse(append(args, "--config", path)); err != nil {
		t.Fatal(err)
	}
	return f, f.Read(flags)
}

func TestAFlagWinsOverTheConfigurationFile(t *testing.T) {
	t.Parallel()
	const file = "# a comment\n\netcd = http://192.0.2.1:2379, http://192.0.2.2:2379\nname=one\n ttl = 5s\n"
	f, err := parsed(t, file, "--name", "two", "--advertise", "203.0.113.5")
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Etcd) != 2 || f.Name != "two" || f.TTL.String() != "5s" || f.advertise != "203.0.113.5" {
		t.Errorf("read %+v", f)
	}
	if f, err = parsed(t, file, "--etcd", "http://192.0.2.9:2379"); err != nil || len(f.Etcd) != 1 {
		t.Errorf("--etcd beside the file's: %q, %v", f.Etcd, err)
	}
}

func TestTheConfigurationFileThatIsInstalledIsRead(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../build/agent.conf")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed(t, string(raw)); err != nil {
		t.Error(err)
	}
	// Its examples are keys; of their values only the files are missing here.
	var examples strings.Builder
	for line := range strings.Lines(string(raw)) {
		if text, ok := strings.CutPrefix(line, "# "); ok && strings.Contains(text, " = ") && !strings.HasPrefix(text, "tls-") {
			examples.WriteString(text)
		}
	}
	if f, err := parsed(t, examples.String()); err != nil || f.bind == "" {
		t.Errorf("the examples of the file: %v\n%s", err, examples.String())
	}
}

func TestWhatIsWrongInTheConfigurationIsNamed(t *testing.T) {
	t.Parallel()
	const etcd = "etcd = https://192.0.2.1:2379\n"
	for file, want := range map[string]string{
		"ttl = 5s\nttl 6s\n":                                    "agent.conf:2: ",
		"ectd = http://192.0.2.1:2379":                          "agent.conf:1: ectd: there is no such key",
		"config = /x":                                           "no such key",
		"name = a\nname = b":                                    "agent.conf:2: name: it is at ",
		"ttl = soon":                                            "agent.conf:1: ttl: \"soon\"",
		"ttl = 1s":                                              "agent.conf:1: ttl: 1s is too short",
		"repair-every = 0s":                                     "repair-every",
		"reclaim-after = -1s":                                   "reclaim-after",
		"name = a/b":                                            "agent.conf:1: name",
		"log-level = loud":                                      "log-level",
		"metrics = 9470":                                        "127.0.0.1:9470",
		"etcd = 192.0.2.1:2379":                                 "https://HOST:2379",
		"etcd = ftp://192.0.2.1":                                "https://HOST:2379",
		"etcd = http://192.0.2.1:2379\ntls-ca = /x":             "write https://",
		"tls-ca = /nowhere\n" + etcd:                            "agent.conf:1: tls-ca",
		"tls-ca = /etc/hostname\n" + etcd:                       "no certificate",
		"tls-cert = /nowhere\n" + etcd:                          "tls-key",
		"tls-key = /nowhere\n" + etcd:                           "tls-cert",
		"tls-cert = /nowhere\ntls-key = /nowhere\n" + etcd:      "agent.conf:1: tls-cert",
		"etcd-user = root\n" + etcd:                             "etcd-password-file",
		"etcd-password-file = /nowhere\n" + etcd:                "etcd-user",
		"etcd-user = u\netcd-password-file = /nowhere\n" + etcd: "agent.conf:2: etcd-password-file",
		"bind = 127.0.0.1\n" + etcd:                             "agent.conf:1: bind",
		"advertise = host.example\n" + etcd:                     "advertise",
		"advertise = fe80::1%eth0\n" + etcd:                     "advertise",
		"bind = 192.0.2.1\nadvertise = 2001:db8::1\n" + etcd:    "families",
		"bind = 192.0.2.1":                                      "give etcd too",
		"wireguard = openvpn":                                   "agent.conf:1: wireguard",
		"wireguard-port = 0":                                    "wireguard-port",
		"wireguard-keepalive = 1500ms":                          "wireguard-keepalive",
	} {
		if _, err := parsed(t, file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want an error with %q", file, err, want)
		}
	}
	// All of it at once.
	_, err := parsed(t, "ttl = 1s\nname = a/b\nlog-level = loud\n")
	if err == nil || strings.Count(err.Error(), "agent.conf:") != 3 {
		t.Errorf("three mistakes: %v", err)
	}
	// And of the command line.
	if _, err := parsed(t, "", "--name", "a/b"); err == nil || !strings.HasPrefix(err.Error(), "--name: ") {
		t.Errorf("--name a/b: %v", err)
	}
}
