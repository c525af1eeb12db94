package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// errFailed ends a run that Fatalf has already explained.
var errFailed = errors.New("failed")

// run stands in for a test, so that nettest builds the demo's hosts, too.
// The methods that it does not have are never called by nettest.
type run struct {
	testing.TB
	ctx      context.Context
	cleanups []func()
	failed   bool
}

// withRun calls fn, and undoes what was registered with Cleanup, last first,
// however fn ends: an interrupt cancels the context.
func withRun(fn func(*run)) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &run{ctx: ctx}
	defer func() {
		stop()
		for i := len(r.cleanups) - 1; i >= 0; i-- {
			r.guard(r.cleanups[i])
		}
		if r.failed && err == nil {
			err = errFailed
		}
	}()
	r.guard(func() { fn(r) })
	return nil
}

// guard takes the panic by which Fatalf leaves fn.
func (r *run) guard(fn func()) {
	defer func() {
		if v := recover(); v != nil && v != errFailed {
			panic(v)
		}
	}()
	fn()
}

func (r *run) Helper()                  {}
func (r *run) Name() string             { return "demo" }
func (r *run) Context() context.Context { return r.ctx }
func (r *run) Cleanup(fn func())        { r.cleanups = append(r.cleanups, fn) }
func (r *run) Failed() bool             { return r.failed }
func (r *run) Log(args ...any)          { fmt.Fprintln(os.Stderr, args...) }
func (r *run) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (r *run) Error(args ...any) {
	r.failed = true
	r.Log(args...)
}

func (r *run) Errorf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
}

func (r *run) Fatal(args ...any) {
	r.Error(args...)
	panic(errFailed)
}

func (r *run) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(errFailed)
}

// Skipf is a failure: a demo that shows nothing has not succeeded.
func (r *run) Skipf(format string, args ...any) { r.Fatalf(format, args...) }
