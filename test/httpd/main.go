// Command httpd is what the containers of the demo and the tests run: an HTTP
// server and client in one static binary.
//
//	httpd serve ADDR NAME      answer every request with the name and the client's address
//	httpd get URL              print what the URL answers
//	httpd probe NAME=URL...    ask all at once; print "NAME ANSWER" or "NAME -" for each
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

const timeout = 2 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "httpd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "serve":
		return serve(args[1], args[2])
	case len(args) == 2 && args[0] == "get":
		answer, err := get(args[1])
		fmt.Print(answer)
		return err
	case len(args) > 1 && args[0] == "probe":
		return probe(args[1:])
	}
	return errors.New("usage: httpd serve ADDR NAME | get URL | probe NAME=URL [NAME=URL]")
}

// serve ends on SIGTERM, which a process 1 without a handler would not get.
func serve(addr, name string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-end
		os.Exit(0)
	}()
	fmt.Println("serving", l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, name, r.RemoteAddr)
	}))
}

func get(url string) (string, error) {
	client := http.Client{Timeout: timeout}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return string(body), err
}

func probe(targets []string) error {
	answers := make([]string, len(targets))
	var wg sync.WaitGroup
	for i, target := range targets {
		name, url, ok := strings.Cut(target, "=")
		if !ok {
			return fmt.Errorf("probe %q: want NAME=URL", target)
		}
		wg.Go(func() {
			answer, err := get(url)
			if err != nil {
				answer = "-"
			}
			answers[i] = name + " " + strings.TrimSpace(answer)
		})
	}
	wg.Wait()
	fmt.Println(strings.Join(answers, "\n"))
	return nil
}
