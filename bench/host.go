package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netns"
)

var resultsLock sync.Mutex

// host is a child process in a network and mount namespace of its own, in
// which one contender works. It does what it is told on its stdin.
type host struct {
	cmd  *exec.Cmd
	in   *json.Encoder
	out  *json.Decoder
	name string
}

// order is one line to a host, and answer its reply.
type order struct {
	Warm     int // attach so many and leave them
	Rounds   int // ADD and DEL one after another
	Parallel int // ADD so many by Workers at once, then DEL them
	Workers  int

	Dials      int  // connect so often to a published port
	Throughput bool // one turn of TCP between two containers

	Names  string // ask for names of a kind
	AtOnce int    // so many questions at once
}

type answer struct {
	Add, Del []time.Duration
	Wall     time.Duration
	Connect  []time.Duration
	Rate     float64 // bits or answers a second
	Lost     float64 // of a hundred questions
	PeakKiB  int64
	Err      string
}

func startHost(name string, dirs directories) (*host, error) {
	h := &host{name: name, cmd: exec.Command("/proc/self/exe", "host", name)}
	raw, err := json.Marshal(dirs)
	if err != nil {
		return nil, err
	}
	h.cmd.Env = append(os.Environ(), "BENCH_DIRS="+string(raw))
	h.cmd.Stderr = os.Stderr
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	in, err := h.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.in, h.out = json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
	return h, h.cmd.Start()
}

func (h *host) do(o order) (a answer, err error) {
	if err = h.in.Encode(o); err == nil {
		err = h.out.Decode(&a)
	}
	if err == nil && a.Err != "" {
		err = errors.New(a.Err)
	}
	return a, err
}

func (h *host) stop() {
	h.cmd.Process.Kill()
	h.cmd.Wait()
}

// serveHost is the child's main.
func serveHost(name string) error {
	var dirs directories
	if err := json.Unmarshal([]byte(os.Getenv("BENCH_DIRS")), &dirs); err != nil {
		return err
	}
	if err := prepareHost(name); err != nil {
		return err
	}
	w := &worker{contender: newContender(name, dirs)}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return nil
		}
		a, err := w.serve(o)
		if err != nil {
			a.Err = err.Error()
		}
		a.PeakKiB = w.peak
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// prepareHost gives the host a /run and /var/lib of its own.
func prepareHost(name string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/run", "/var/lib"} {
		if err := unix.Mount("bench", dir, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	setup := "ip link set lo up"
	switch {
	case strings.HasSuffix(name, "macvlan"):
		setup += macvlanParent
	case strings.HasSuffix(name, "-port") || strings.HasSuffix(name, "-ports"):
		setup += outsideClient
	case strings.HasPrefix(name, "run-"):
		setup += ownNetworks
	case strings.HasPrefix(name, "dns-"):
		setup += namesHost
	case name == "floor" || name == tcpByHand || name == tcpCalledByHand:
		setup += bridgeByHand
	case name == tcpCalledMasq:
		setup += bridgeByHand + masqueradeByHand
	}
	switch {
	case strings.HasSuffix(name, "-routed"):
		setup += setBridgeCalls("0")
	case strings.HasSuffix(name, "-called"):
		setup += setBridgeCalls("1")
	}
	out, err := exec.Command("sh", "-ec", setup).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", setup, err, out)
	}
	if strings.HasPrefix(name, "dns-") {
		return startNames(name)
	}
	return nil
}

// again repeats what fails, as a runtime does: upstream's chain loses races
// with itself.
func again(fn func() error) (err error) {
	for range 5 {
		if err = fn(); err == nil {
			return nil
		}
	}
	return err
}

type worker struct {
	*contender
	next     int
	listener net.Listener // in the first container
	flow     *flow        // from the second container to the first
}

func (w *worker) serve(o order) (a answer, err error) {
	for range o.Warm {
		if _, err := w.attach(); err != nil {
			return a, err
		}
	}
	for range o.Rounds {
		add, del, err := w.round()
		if err != nil {
			return a, err
		}
		a.Add, a.Del = append(a.Add, add), append(a.Del, del)
	}
	switch {
	case o.Dials > 0:
		a.Connect, err = w.connects(o.Dials)
	case o.Throughput:
		a.Rate, err = w.throughput()
	case o.Names != "":
		var got asked
		got, err = w.asks(o.Names, o.AtOnce)
		if a.Rate, a.Lost = got.rate, got.lost; o.AtOnce == 1 {
			a.Connect = []time.Duration{got.delay}
		}
	case o.Parallel > 0:
		return w.parallel(o)
	}
	return a, err
}

// container makes a namespace, untimed.
func (w *worker) container() (id int, path string, err error) {
	w.next++
	path = fmt.Sprintf("/run/netns/c%d", w.next)
	ns, err := netns.Create(path)
	if err != nil {
		return 0, "", err
	}
	return w.next, path, ns.Close()
}

func (w *worker) attach() (time.Duration, error) {
	id, path, err := w.container()
	if err != nil {
		return 0, err
	}
	return timed(func() error { return w.add(id, path) })
}

func (w *worker) round() (add, del time.Duration, err error) {
	id, path, err := w.container()
	if err != nil {
		return 0, 0, err
	}
	if add, err = timed(func() error { return w.add(id, path) }); err != nil {
		return 0, 0, err
	}
	if del, err = timed(func() error { return w.del(id, path) }); err != nil {
		return 0, 0, err
	}
	return add, del, netns.Unpin(path)
}

func (w *worker) parallel(o order) (a answer, err error) {
	type job struct {
		id   int
		path string
	}
	jobs := make([]job, o.Parallel)
	for i := range jobs {
		if jobs[i].id, jobs[i].path, err = w.container(); err != nil {
			return a, err
		}
	}
	all := func(fn func(job) error) error {
		queue, errs := make(chan job), make(chan error, o.Workers)
		for range o.Workers {
			go func() {
				var failed error
				for j := range queue {
					failed = errors.Join(failed, fn(j))
				}
				errs <- failed
			}()
		}
		for _, j := range jobs {
			queue <- j
		}
		close(queue)
		var failed error
		for range o.Workers {
			failed = errors.Join(failed, <-errs)
		}
		return failed
	}
	if a.Wall, err = timed(func() error {
		return all(func(j job) error { return again(func() error { return w.add(j.id, j.path) }) })
	}); err != nil {
		return a, err
	}
	return a, all(func(j job) error {
		return errors.Join(again(func() error { return w.del(j.id, j.path) }), netns.Unpin(j.path))
	})
}
