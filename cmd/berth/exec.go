package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/runtime/container"
)

// execFlags are the flags of berth exec as they were typed.
type execFlags struct {
	interactive, terminal bool
	workingDir, user      string
	env                   []string
}

func execCommand() *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:     "exec [flags] CONTAINER COMMAND [ARG...]",
		GroupID: groupContainers,
		Short:   "Run another command in a running container",
		Args:    minimumArgs(2, "CONTAINER COMMAND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return asExit(container.CodeBerth, f.run(args[0], args[1:]))
		},
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "hand standard input to the command")
	fl.BoolVarP(&f.terminal, "tty", "t", false, "give the command a terminal")
	fl.StringVarP(&f.workingDir, "workdir", "w", "", "working directory in the container")
	fl.StringVarP(&f.user, "user", "u", "", "USER[:GROUP], names or numbers")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set an environment variable: K=V, or K for its value here")
	return cmd
}

func (f *execFlags) run(ref string, command []string) error {
	store, err := container.Open()
	if err != nil {
		return err
	}
	c, err := store.Get(ref)
	if err != nil {
		return err
	}
	term, err := openTerminal(f.terminal, f.interactive)
	if err != nil {
		return err
	}
	env, err := parseEnv(f.env)
	if err != nil {
		return err
	}
	o := container.ExecOptions{
		Args: command, Env: env, WorkingDir: f.workingDir, User: f.user,
		Terminal: f.terminal, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if f.interactive {
		o.Stdin = os.Stdin
	}
	process, err := c.Exec(o)
	switch {
	case errors.Is(err, container.ErrNoCommand):
		return asExit(container.CodeNoCommand, err)
	case errors.Is(err, container.ErrNotRunnable):
		return asExit(container.CodeNotRunnable, err)
	case err != nil:
		return err
	}
	return f.attend(process, term)
}

func (f *execFlags) attend(process *container.Execution, term *terminal) error {
	if err := term.raw(); err != nil {
		return err
	}
	defer term.restore()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go forwardSignals(ctx, process, term)
	code, err := process.Wait()
	term.restore()
	if err != nil {
		return err
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}

// signalled is a process that signals and the terminal's size are passed to.
type signalled interface {
	Signal(unix.Signal) error
	Resize(container.Winsize) error
}

// notForwarded are signals that are about this process, or that the Go
// runtime sends itself.
var notForwarded = []os.Signal{unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, unix.SIGWINCH, unix.SIGTTIN, unix.SIGTTOU, unix.SIGTSTP, unix.SIGCONT}

func forwardSignals(ctx context.Context, to signalled, term *terminal) {
	signals := make(chan os.Signal, 32)
	signal.Notify(signals)
	defer signal.Stop(signals)
	term.tellSize(to)
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			if sig == unix.SIGWINCH {
				term.tellSize(to)
			} else if num, ok := sig.(unix.Signal); ok && !slices.Contains(notForwarded, sig) {
				to.Signal(num)
			}
		}
	}
}
