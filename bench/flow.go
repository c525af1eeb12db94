package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netns"
)

const (
	flowPort  = 5001
	flowWrite = 128 << 10
	// flowBuffer is fixed, because the kernel else finds sizes for the two ends
	// that differ from connection to connection by more than what is measured.
	flowBuffer = 256 << 10
	flowTurn   = 25 * time.Millisecond
)

// flow is a TCP connection between two containers that stays for all turns.
// Its ends have a thread each, both on one processor: its rate is then what a
// byte costs. On two, it is how fast one wakes the other, which varies more.
type flow struct {
	received atomic.Int64 // bytes
	turns    chan time.Duration
	done     chan error
}

// newFlow connects the client's namespace to the server's, at an address that
// the server has.
func newFlow(client, server string, addr netip.Addr) (*flow, error) {
	f := &flow{turns: make(chan time.Duration), done: make(chan error)}
	go f.end(server, func() (int, error) { return f.accept(addr) }, f.receive)
	if err := <-f.done; err != nil {
		return nil, err
	}
	go f.end(client, func() (int, error) { return connect(addr) }, f.send)
	return f, <-f.done
}

// end is one end's thread, which dies with it. It says on done that it is
// open, or why not.
func (f *flow) end(path string, open func() (int, error), run func(fd int) error) {
	runtime.LockOSThread()
	ns, err := netns.Open(path)
	if err != nil {
		f.done <- err
		return
	}
	defer ns.Close()
	err = ns.Do(func() error {
		if err := pin(); err != nil {
			return err
		}
		fd, err := open()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		f.done <- nil
		return run(fd)
	})
	f.done <- err
}

// pin keeps the thread on the last processor that it may use, as far as
// possible from interrupts.
func pin() error {
	var may, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return fmt.Errorf("read the thread's processors: %w", err)
	}
	last := 0
	for i := range len(may) * 64 {
		if may.IsSet(i) {
			last = i
		}
	}
	one.Set(last)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("keep the thread on processor %d: %w", last, err)
	}
	return nil
}

// stream makes a socket that blocks, so that the thread itself sleeps.
func stream() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	for _, option := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, flowBuffer); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("set the size of a socket's buffer: %w", err)
		}
	}
	return fd, nil
}

func (f *flow) accept(addr netip.Addr) (int, error) {
	fd, err := stream()
	if err != nil {
		return -1, err
	}
	err = errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: flowPort, Addr: addr.As4()}), unix.Listen(fd, 1))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return fd, nil
}

func connect(addr netip.Addr) (int, error) {
	fd, err := stream()
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: flowPort, Addr: addr.As4()}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return fd, nil
}

func (f *flow) receive(listener int) error {
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	defer unix.Close(fd)
	buf := make([]byte, flowWrite)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n == 0:
			return fmt.Errorf("receive: %w", err)
		}
		f.received.Add(int64(max(n, 0)))
	}
}

func (f *flow) send(fd int) error {
	buf := make([]byte, flowWrite)
	for d := range f.turns {
		for end := time.Now().Add(d); time.Now().Before(end); {
			if _, err := unix.Write(fd, buf); err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("send: %w", err)
			}
		}
		f.done <- nil
	}
	return nil
}

// rate is what arrives in a turn, in bits a second, less the turn's first
// fifth, in which the connection finds its pace again.
func (f *flow) rate(turn time.Duration) (float64, error) {
	f.turns <- turn
	time.Sleep(turn / 5)
	begin, before := time.Now(), f.received.Load()
	time.Sleep(turn * 3 / 4)
	bits, took := 8*float64(f.received.Load()-before), time.Since(begin)
	if err := <-f.done; err != nil {
		return 0, err
	}
	return bits / took.Seconds(), nil
}

// tcpRatios are medians of the ratios in each turn, in which the machine is
// more alike than in all turns.
func (r *report) tcpRatios() string {
	var b strings.Builder
	for _, row := range []struct{ what, wanted, over, under string }{
		{"TCP throughput, berth's bridge to one made by hand", "≥ 0.97", tcpBerth, tcpByHand},
		{"the same where br_netfilter hands bridged packets to the packet filter", "≥ 0.97", tcpCalledBerth, tcpCalledByHand},
		{"there, a bridge made by hand with one rule that masquerades, to one without", "", tcpCalledMasq, tcpCalledByHand},
		{"there, berth's bridge to the one that masquerades", "≥ 0.97", tcpCalledBerth, tcpCalledMasq},
	} {
		over, under := r.by[row.over], r.by[row.under]
		if over == nil || under == nil {
			continue
		}
		fmt.Fprintf(&b, "| %s | %.2f | %s |\n", row.what, medianRatio(over.rate, under.rate), row.wanted)
	}
	return b.String()
}

func medianRatio(over, under []float64) float64 {
	ratios := make([]float64, min(len(over), len(under)))
	for i := range ratios {
		ratios[i] = over[i] / under[i]
	}
	return median(ratios)
}
