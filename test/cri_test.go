package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/berth-net/berth/nettest"
)

// criHost is a host with containerd, spoken to as Kubernetes' kubelet does.
type criHost struct {
	*nettest.Host
	t      *testing.T
	daemon *nettest.Process
	cri    cri.RuntimeServiceClient
}

const criConfig = `version = 2
root = "/run/ctrd/root"
state = "/run/ctrd/state"
[grpc]
address = "/run/ctrd/sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "example.org/httpd:latest"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
`

// startCRI starts containerd on a host, with the image of archive, and the
// plugins where it looks for them.
func startCRI(t *testing.T, h *nettest.Host, archive string) *criHost {
	t.Helper()
	c := &criHost{Host: h, t: t}
	// The host's own mount namespace: nobody else sees this /opt.
	h.Run("mount", "-t", "tmpfs", "tmpfs", "/opt")
	h.Run("mkdir", "-p", "/opt/cni")
	h.Run("cp", "-a", filepath.Join(binaries(t), "cni"), "/opt/cni/bin")
	conf := filepath.Join(t.TempDir(), "containerd.toml")
	if err := os.WriteFile(conf, []byte(criConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	c.daemon = h.Background("containerd", "--config", conf)
	nettest.Eventually(t, "containerd on "+h.Name, func() error {
		out, err := h.Try("ctr", "--address", "/run/ctrd/sock", "version")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	h.Run("ctr", "--address", "/run/ctrd/sock", "-n", "k8s.io", "images", "import", "--snapshotter", "native", "--base-name", "example.org/httpd", archive)
	conn, err := grpc.NewClient("passthrough:///cri", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (conn net.Conn, err error) {
			err = h.Do(func() error { conn, err = new(net.Dialer).DialContext(ctx, "unix", "/run/ctrd/sock"); return err })
			return conn, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	c.cri = cri.NewRuntimeServiceClient(conn)
	t.Cleanup(func() {
		if err := errors.Join(c.removePods(), conn.Close()); err != nil {
			t.Errorf("remove the pods of %s: %v", h.Name, err)
		}
	})
	nettest.Eventually(t, "the network of the pods on "+h.Name, c.ready)
	return c
}

// ready is what the kubelet asks before it starts a pod.
func (c *criHost) ready() error {
	s, err := c.cri.Status(c.t.Context(), new(cri.StatusRequest))
	if err != nil {
		return err
	}
	for _, condition := range s.Status.Conditions {
		if !condition.Status {
			return fmt.Errorf("%s: %s: %s", condition.Type, condition.Reason, condition.Message)
		}
	}
	return nil
}

func (c *criHost) removePods() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	list, err := c.cri.ListPodSandbox(ctx, new(cri.ListPodSandboxRequest))
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range list.Items {
		_, err := c.cri.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.Id})
		_, err2 := c.cri.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.Id})
		errs = append(errs, err, err2)
	}
	return errors.Join(errs...)
}

// pod is a pod with one container, which serves its own name at port 80.
type pod struct {
	host      *criHost
	name      string
	sandbox   string
	container string
	ips       []string
}

func (c *criHost) run(name string) *pod {
	c.t.Helper()
	p := &pod{host: c, name: name}
	if err := p.start(c.t.Context()); err != nil {
		c.t.Fatalf("run pod %s on %s: %v\n%s", name, c.Name, err, c.daemon.Output())
	}
	return p
}

func (p *pod) start(ctx context.Context) error {
	config := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: p.name, Namespace: "default", Uid: p.name},
		Hostname: p.name, LogDirectory: "/run/ctrd/logs", Linux: new(cri.LinuxPodSandboxConfig),
	}
	sandbox, err := p.host.cri.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		return err
	}
	p.sandbox = sandbox.PodSandboxId
	made, err := p.host.cri.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: p.sandbox, SandboxConfig: config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "web"}, Image: &cri.ImageSpec{Image: "example.org/httpd:latest"},
			Args: []string{"serve", ":80", p.name}, LogPath: "web.log", Linux: new(cri.LinuxContainerConfig),
		},
	})
	if err != nil {
		return err
	}
	p.container = made.ContainerId
	if _, err := p.host.cri.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: p.container}); err != nil {
		return err
	}
	status, err := p.host.cri.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.sandbox})
	if err != nil {
		return err
	}
	p.ips = []string{status.Status.Network.Ip}
	for _, more := range status.Status.Network.AdditionalIps {
		p.ips = append(p.ips, more.Ip)
	}
	return nil
}

// get asks another pod from inside this one.
func (p *pod) get(ip string) (string, error) {
	r, err := p.host.cri.ExecSync(p.host.t.Context(), &cri.ExecSyncRequest{
		ContainerId: p.container, Cmd: []string{"/httpd", "get", "http://" + net.JoinHostPort(ip, "80")}, Timeout: 10,
	})
	if err != nil {
		return "", err
	}
	if r.ExitCode != 0 {
		return "", fmt.Errorf("exit code %d: %s", r.ExitCode, r.Stderr)
	}
	return string(r.Stdout), nil
}

// One conflist, which the agents put on every node, is all that the nodes'
// runtimes know.
func TestPodsOfThreeNodesAreOnOneNetwork(t *testing.T) {
	t.Parallel()
	requireTools(t, "containerd", "ctr", "runc")
	c, dir := newCluster(t, 3), t.TempDir()
	// The process that holds a pod's namespaces has no arguments.
	writeDemoImage(t, filepath.Join(dir, "image"), "serve", "127.0.0.1:8080", "pause")
	archive := filepath.Join(dir, "image.tar")
	c.server.Run("tar", "-C", filepath.Join(dir, "image"), "-cf", archive, ".")
	c.berth(c.hosts[0], "network", "create", "-d", "overlay", "--subnet", "10.42.0.0/24", "--subnet", "fd42::/64", "wide")

	var pods []*pod
	for _, h := range c.hosts {
		pods = append(pods, startCRI(t, h, archive).run("on-"+h.Name))
	}
	for _, p := range pods {
		c.expectAddresses(p)
		for _, to := range pods {
			for _, ip := range to.ips {
				nettest.Eventually(t, fmt.Sprintf("pod %s to reach %s at %s", p.name, to.name, ip), func() error {
					answer, err := p.get(ip)
					if err == nil && !strings.HasPrefix(answer, to.name+" ") {
						err = fmt.Errorf("%q answers", answer)
					}
					return err
				})
			}
		}
	}
	// What the cluster says of them is what the runtimes say.
	var want, got []string
	for _, p := range pods {
		want = append(want, p.ips...)
	}
	out := c.berth(c.hosts[1], "network", "inspect", "--format", "{{range .Cluster.Endpoints}}{{range .Addresses}}{{.}} {{end}}{{end}}", "wide")
	got = strings.Fields(out)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("the cluster has the addresses %q, the pods %q", got, want)
	}
	c.expectLiveConnection(pods[0], pods[2])
	for _, p := range pods {
		if err := p.host.removePods(); err != nil {
			t.Error(err)
		}
	}
	nettest.Eventually(t, "the network to be free", func() error {
		out, err := c.tryBerth(c.hosts[2], "network", "rm", "wide")
		if err != nil {
			return errors.New(out)
		}
		return nil
	})
}

func (c *cluster) expectAddresses(p *pod) {
	c.Helper()
	for i, subnet := range []string{"10.42.0.0/24", "fd42::/64"} {
		if len(p.ips) != 2 || !netip.MustParsePrefix(subnet).Contains(netip.MustParseAddr(p.ips[i])) {
			c.Fatalf("pod %s has the addresses %q, want one of each subnet", p.name, p.ips)
		}
	}
}

// expectLiveConnection connects two running pods, whose runtime knows nothing
// of it, to one more network of the cluster, and disconnects them.
func (c *cluster) expectLiveConnection(from, to *pod) {
	c.Helper()
	c.berth(from.host.Host, "network", "create", "-d", "overlay", "--subnet", "10.43.0.0/24", "zone")
	connect := func(p *pod) string {
		nettest.Eventually(c.T, "the network zone on "+p.host.Name, func() error {
			_, err := c.tryBerth(p.host.Host, "network", "inspect", "zone")
			return err
		})
		line := strings.Fields(c.berth(p.host.Host, "network", "connect", "zone", p.sandbox))
		if len(line) != 2 || line[0] != "eth1" {
			c.Fatalf("connect %s to zone: %q, want eth1 and an address", p.name, line)
		}
		addr, _, _ := strings.Cut(line[1], "/")
		return addr
	}
	connect(from)
	addr := connect(to)
	nettest.Eventually(c.T, from.name+" to reach "+to.name+" on zone", func() error {
		answer, err := from.get(addr)
		if err == nil && !strings.Contains(answer, " 10.43.0.") {
			err = fmt.Errorf("%q answers", answer)
		}
		return err
	})
	for _, p := range []*pod{from, to} {
		c.berth(p.host.Host, "network", "disconnect", "zone", p.sandbox)
	}
	nettest.Eventually(c.T, "zone to be free", func() error {
		_, err := c.tryBerth(to.host.Host, "network", "rm", "zone")
		return err
	})
}
