package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/runtime/container"
	"github.com/berth-net/berth/runtime/image"
)

// runFlags are the flags of berth run as they were typed.
type runFlags struct {
	detach, autoRemove, interactive, terminal bool

	name, hostname, workingDir, user, entrypoint, stopSignal, pull string
	networks, publish, env, volumes, tmpfs                         []string
	capAdd, capDrop, securityOpt, labels                           []string
	aliases, dns, dnsSearch, dnsOptions                            []string
}

func runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:     "run [flags] IMAGE [COMMAND [ARG...]]",
		GroupID: groupContainers,
		Short:   "Run a command in a new container",
		Long: `Run a command in a new container.

IMAGE is a registry reference, oci:DIR[:TAG], docker-archive:FILE or rootfs:DIR.
The exit code is the container's; 125 is berth's own failure, 126 a command that
cannot be run, 127 one that was not found, 128+N a command that signal N ended.`,
		Args: minimumArgs(1, "IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return asExit(container.CodeBerth, f.run(cmd, args[0], args[1:]))
		},
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false) // flags after IMAGE are the command's
	fl.BoolVarP(&f.detach, "detach", "d", false, "print the container's id and leave it running")
	fl.BoolVar(&f.autoRemove, "rm", false, "remove the container when it ends")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "hand standard input to the container")
	fl.BoolVarP(&f.terminal, "tty", "t", false, "give the container a terminal")
	fl.StringVar(&f.name, "name", "", "name of the container")
	fl.StringVar(&f.hostname, "hostname", "", "host name in the container (default: its short id)")
	fl.StringVarP(&f.workingDir, "workdir", "w", "", "working directory in the container")
	fl.StringVarP(&f.user, "user", "u", "", "USER[:GROUP], names or numbers")
	fl.StringVar(&f.entrypoint, "entrypoint", "", "replace the image's entrypoint")
	fl.StringVar(&f.stopSignal, "stop-signal", "", "what berth stop sends first")
	fl.StringVar(&f.pull, "pull", string(image.PullMissing), "when to ask the registry: always, missing or never")
	fl.StringArrayVar(&f.networks, "network", nil, "NET[:ip=ADDR][,alias=NAME][,…], host, none or container:NAME; may be repeated (default bridge)")
	fl.StringArrayVar(&f.aliases, "network-alias", nil, "another name of the container on each of its networks")
	fl.StringArrayVar(&f.dns, "dns", nil, "nameserver to ask, from the container's networks (default: the networks', or the host's)")
	fl.StringArrayVar(&f.dnsSearch, "dns-search", nil, "domain to search, or a dot for none (default: the networks', or the host's)")
	fl.StringArrayVar(&f.dnsOptions, "dns-option", nil, "option of resolv.conf, such as ndots:2")
	fl.StringArrayVarP(&f.publish, "publish", "p", nil, publishUsage)
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set an environment variable: K=V, or K for its value here")
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "mount a directory or volume: SRC:DST[:ro]")
	fl.StringArrayVar(&f.tmpfs, "tmpfs", nil, "mount a tmpfs: DST[:OPTIONS]")
	fl.StringArrayVar(&f.capAdd, "cap-add", nil, "add a capability")
	fl.StringArrayVar(&f.capDrop, "cap-drop", nil, "drop a capability")
	fl.StringArrayVar(&f.securityOpt, "security-opt", nil, "seccomp=unconfined")
	fl.StringArrayVarP(&f.labels, "label", "l", nil, "label the container: K=V")
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command, ref string, command []string) error {
	if f.detach && f.interactive && !f.terminal {
		return errors.New("-d with -i: standard input would end when berth does; give -t, too")
	}
	pull := image.Pull(f.pull)
	if !slices.Contains([]image.Pull{image.PullAlways, image.PullMissing, image.PullNever}, pull) {
		return fmt.Errorf("--pull %q: want always, missing or never", f.pull)
	}
	store, err := container.Open()
	if err != nil {
		return err
	}
	img, err := image.At(store.Root()).Get(cmd.Context(), ref, pull)
	if err != nil {
		return err
	}
	cfg, err := f.config(img, command)
	if err != nil {
		return err
	}
	c, lock, err := store.Create(*cfg)
	if err != nil {
		return err
	}
	session, err := c.Start(lock, os.Args[0], superviseVerb)
	if err != nil {
		return errors.Join(err, lock.Release(), c.Remove(cmd.Context(), container.RemoveOptions{Force: true}))
	}
	defer session.Close()
	if f.detach {
		return detached(cmd, c, session)
	}
	return attached(cmd, session, f)
}

func detached(cmd *cobra.Command, c *container.Container, session *container.Session) error {
	outcome, err := started(cmd, session)
	if err != nil {
		return err
	}
	if outcome != nil {
		return outcomeError(outcome)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), c.ID)
	return err
}

// started waits until the container runs, and prints what its networks warn of.
func started(cmd *cobra.Command, session *container.Session) (*container.Outcome, error) {
	return session.Started(func(warning string) { warn(cmd, errors.New(warning)) })
}

// attached joins the container's streams with our own, and forwards signals.
func attached(cmd *cobra.Command, session *container.Session, f *runFlags) error {
	term, err := openTerminal(f.terminal, f.interactive)
	if err != nil {
		return err
	}
	defer term.restore()
	outcome, err := started(cmd, session)
	if err != nil {
		return err
	}
	if outcome != nil {
		term.restore()
		return outcomeError(outcome)
	}
	if err := term.raw(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go forwardSignals(ctx, session, term)
	if f.interactive {
		go session.CopyStdin(os.Stdin)
	}
	outcome, err = session.Wait(os.Stdout, os.Stderr)
	term.restore()
	if err != nil {
		return err
	}
	return outcomeError(outcome)
}

func outcomeError(o *container.Outcome) error {
	if o.Error != "" {
		return &exitError{o.Code, errors.New(o.Error)}
	}
	if o.Code != 0 {
		return &exitError{code: o.Code}
	}
	return nil
}

// config joins what the image says with what the command line says.
func (f *runFlags) config(img *image.Image, command []string) (*container.Config, error) {
	cfg := &container.Config{
		Name: f.name, Created: time.Now().UTC(), Image: img.Ref, Digest: img.Digest, Layers: img.Layers,
		Args: f.command(img, command), Env: img.Config.Env,
		WorkingDir: or(f.workingDir, img.Config.WorkingDir), User: or(f.user, img.Config.User),
		StopSignal: or(f.stopSignal, img.Config.StopSignal),
		DNS:        plugins.DNS{Nameservers: f.dns, Search: f.dnsSearch, Options: f.dnsOptions},
		Hostname:   f.hostname, Terminal: f.terminal, OpenStdin: f.interactive, AutoRemove: f.autoRemove,
	}
	return cfg, errors.Join(f.parseEnv(cfg), f.parseNetworks(cfg), f.parsePorts(cfg),
		f.parseMounts(cfg, img.Config.Volumes), f.parseSecurity(cfg), f.parseLabels(cfg))
}

func (f *runFlags) command(img *image.Image, command []string) []string {
	if f.entrypoint != "" {
		return append([]string{f.entrypoint}, command...)
	}
	if len(command) == 0 {
		command = img.Config.Cmd
	}
	return slices.Concat(img.Config.Entrypoint, command)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
