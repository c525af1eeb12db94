package main

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/berth-net/berth/nettest"
	"github.com/berth-net/berth/test/image"
)

// stage is the running demo.
type stage struct {
	r       *run
	berth   string
	httpd   string // binary on the machine, for the hosts' own processes
	image   string // reference for berth run
	hosts   map[string]*nettest.Host
	actors  []*actor
	targets []target
}

// actor is a party on the stage.
type actor struct {
	party
	addresses []netip.Prefix
	reached   map[string]string // target's name → its answer
}

// target is a column.
type target struct{ name, url string }

func newStage(r *run, berth, keep, only string) *stage {
	s := &stage{r: r, berth: berth, hosts: map[string]*nettest.Host{}}
	s.buildImage(keep)
	for _, p := range parties {
		if only == "" || p.kind == only || p.kind == "" {
			s.actors = append(s.actors, &actor{party: p, reached: map[string]string{}})
		}
	}
	var segment *nettest.Switch
	for _, h := range hosts {
		s.hosts[h.name] = nettest.NewHost(r, h.name)
		if segment == nil {
			segment = nettest.NewSwitch(s.hosts[h.name])
		}
		segment.Join(s.hosts[h.name], "eth0", h.address+"/24")
	}
	return s
}

func (s *stage) buildImage(keep string) {
	dir, err := os.MkdirTemp("", "berth-demo-")
	if err != nil {
		s.r.Fatalf("%v", err)
	}
	s.r.Cleanup(func() { os.RemoveAll(dir) })
	if s.httpd, err = image.BuildHTTPD(dir); err != nil {
		s.r.Fatalf("%v", err)
	}
	binary, err := os.ReadFile(s.httpd)
	if err != nil {
		s.r.Fatalf("%v", err)
	}
	img, err := image.New(v1.Config{Entrypoint: []string{"/httpd"}}, image.File{Path: "httpd", Mode: 0o755, Content: binary})
	if keep == "" {
		keep = filepath.Join(dir, "image")
	}
	if err == nil {
		err = errors.Join(os.RemoveAll(keep), image.WriteLayout(keep, "latest", img))
	}
	if err != nil {
		s.r.Fatalf("build image: %v", err)
	}
	if keep, err = filepath.Abs(keep); err != nil {
		s.r.Fatalf("%v", err)
	}
	s.image = "oci:" + keep
}

// run runs berth on a host and shows what is run.
func (s *stage) run(host string, args ...string) string {
	s.r.Logf("%s$ berth %s", host, strings.Join(args, " "))
	return s.hosts[host].Run(s.berth, args...)
}

func (s *stage) has(kind string) bool {
	for _, a := range s.actors {
		if a.kind == kind {
			return true
		}
	}
	return false
}

func (s *stage) createNetworks() {
	for _, n := range networks {
		if s.has(n.kind) {
			s.run(n.host, append([]string{"network", "create"}, strings.Fields(n.args)...)...)
		}
	}
}

// startContainers also makes the columns, when the addresses are known.
func (s *stage) startContainers() {
	hasPublished := false
	for _, a := range s.actors {
		if a.kind == "" {
			continue
		}
		args := []string{"run", "-d", "--name", a.name, "--network", a.network}
		if a.publish != "" {
			args = append(args, "-p", a.publish)
			hasPublished = true
		}
		s.r.Cleanup(func() { s.remove(a) })
		s.run(a.host, append(args, s.image, "serve", ":80", a.name)...)
		s.awaitServing(a)
		a.addresses = s.addressesOf(a)
		s.targets = append(s.targets, target{a.name, s.urlOf(a)})
	}
	if hasPublished {
		s.targets = append(s.targets, target{"published", published})
	}
}

// awaitServing waits for the line that httpd prints when it listens: a
// container has started before that.
func (s *stage) awaitServing(a *actor) {
	nettest.Eventually(s.r, a.name, func() error {
		out, err := s.hosts[a.host].Try(s.berth, "logs", a.name)
		if err == nil && !strings.Contains(out, "serving") {
			err = errors.New("not serving: " + out)
		}
		return err
	})
}

func (s *stage) remove(a *actor) {
	if out, err := s.hosts[a.host].Try(s.berth, "rm", "-f", a.name); err != nil {
		s.r.Errorf("remove %s: %v: %s", a.name, err, out)
	}
}

// addressesOf are those that berth says, and for the host's network the
// host's.
func (s *stage) addressesOf(a *actor) []netip.Prefix {
	raw := s.hosts[a.host].Run(s.berth, "inspect", a.name)
	var views []struct {
		State struct {
			Endpoints []struct {
				Addresses []netip.Prefix `json:"addresses"`
			} `json:"endpoints"`
		} `json:"state"`
	}
	if err := json.Unmarshal([]byte(raw), &views); err != nil || len(views) != 1 {
		s.r.Fatalf("read inspect of %s: %v\n%s", a.name, err, raw)
	}
	if a.kind == "host" {
		for _, h := range hosts {
			if h.name == a.host {
				return []netip.Prefix{netip.MustParsePrefix(h.address + "/24")}
			}
		}
	}
	var all []netip.Prefix
	for _, e := range views[0].State.Endpoints {
		for _, p := range e.Addresses {
			if !p.Addr().IsLoopback() {
				all = append(all, p)
			}
		}
	}
	return all
}

// urlOf is where a party is asked: at its first address, or where it has none
// at its loopback, at which only itself answers.
func (s *stage) urlOf(a *actor) string {
	if len(a.addresses) == 0 {
		return "http://127.0.0.1:80/"
	}
	return "http://" + netip.AddrPortFrom(a.addresses[0].Addr(), 80).String() + "/"
}

// measure has every actor ask every target, all at once.
func (s *stage) measure() {
	args := []string{"probe"}
	for _, t := range s.targets {
		args = append(args, t.name+"="+t.url)
	}
	var wg sync.WaitGroup
	for _, a := range s.actors {
		wg.Go(func() {
			out, err := s.probe(a, args)
			if err != nil {
				s.r.Logf("probe from %s: %v\n%s", a.name, err, out)
			}
			a.read(out)
		})
	}
	wg.Wait()
}

func (s *stage) probe(a *actor, args []string) (string, error) {
	if a.kind == "" {
		return s.hosts[a.host].Try(s.httpd, args...)
	}
	return s.hosts[a.host].Try(s.berth, append([]string{"exec", a.name, "/httpd"}, args...)...)
}

// read takes lines of "TARGET SERVER CLIENT" or "TARGET -".
func (a *actor) read(out string) {
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 {
			a.reached[f[0]] = f[1]
		}
	}
}
