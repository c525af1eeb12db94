package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/nettest"
)

// hostVariable is the environment variable by which in finds a host.
func hostVariable(name string) string { return "nettest:" + name }

func fatal(err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
	os.Exit(1)
}

// in HOST PROGRAM ARGS... becomes the program, inside the host.
func inMain() {
	if len(os.Args) < 3 {
		fatal(errors.New("usage: in HOST PROGRAM ARGS..."))
	}
	fatal(become(os.Args[1], os.Args[2:]))
}

func become(host string, args []string) error {
	network, mount, ok := strings.Cut(os.Getenv(hostVariable(host)), ":")
	if !ok {
		return fmt.Errorf("no host %q", host)
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	// The namespaces are the thread's, and exec keeps the calling thread's.
	runtime.LockOSThread()
	if err := enter(network, mount); err != nil {
		return fmt.Errorf("enter host %s: %w", host, err)
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args, os.Environ())
}

func enter(network, mount string) error {
	netns, err := os.Open(network)
	if err != nil {
		return err
	}
	mntns, err := os.Open(mount)
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(int(mntns.Fd()), unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET)
}

// get URL prints the body, and fails on a status other than 200.
func getMain() {
	client := http.Client{Timeout: 3 * time.Second}
	resp, err := client.Get(os.Args[1])
	if err != nil {
		fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(os.Stdout, resp.Body)
	if resp.StatusCode != http.StatusOK {
		fatal(errors.New(resp.Status))
	}
}

// ping ADDR is the harness's own.
func pingMain() {
	if err := nettest.PingFromHere(os.Args[1]); err != nil {
		fatal(err)
	}
}

// retry PROGRAM ARGS... repeats a program until it succeeds.
func retryMain() {
	var out []byte
	err := nettest.Poll(context.Background(), func() (err error) {
		out, err = exec.Command(os.Args[1], os.Args[2:]...).CombinedOutput()
		return err
	})
	os.Stdout.Write(out)
	if err != nil {
		fatal(err)
	}
}

// serve ADDR WORDS... answers HTTP requests with the words and the client's
// address, until it is interrupted.
func serveMain() {
	words := strings.Join(os.Args[2:], " ")
	go func() {
		fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, words, r.RemoteAddr)
		})))
	}()
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	<-end
}
