// Package container runs containers on runc's libcontainer.
//
// There is no daemon. Each container has a supervisor, a process that makes
// its network namespace, root file system and init process, holds its
// standard streams, log and exit code, and undoes everything when it ends.
// The supervisor holds the container's lock as long as it lives, so a lock
// that is free tells that nobody looks after the container any more, kill -9
// included.
//
// What was asked for and how it went is below /var/lib/berth/containers and
// outlives a reboot; what the kernel holds is recorded below this boot's
// state directory and does not.
package container

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/words"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/runtime/volume"
)

// Errors that callers tell apart.
var (
	ErrNotFound   = errors.New("no such container")
	ErrAmbiguous  = errors.New("more than one container fits")
	ErrNameTaken  = errors.New("container name is taken")
	ErrRunning    = errors.New("container is running")
	ErrNotRunning = errors.New("container is not running")
	ErrInvalid    = errors.New("not valid")

	ErrNoCommand   = errors.New("the command was not found")
	ErrNotRunnable = errors.New("the command cannot be run")
)

// Config is what was asked for: written once, before anything is made.
type Config struct {
	ID      string    `json:"id"` // 32 hexadecimal digits
	Name    string    `json:"name"`
	Created time.Time `json:"created"`

	Image  string            `json:"image"`            // as it was given
	Digest string            `json:"digest,omitempty"` // of the image's manifest
	Layers []string          `json:"layers"`           // directories, the lowest first
	Labels map[string]string `json:"labels,omitempty"`

	Args       []string `json:"args"`
	Env        []string `json:"env,omitempty"` // K=V; of one K the last wins
	WorkingDir string   `json:"workingDir,omitempty"`
	User       string   `json:"user,omitempty"` // [USER[:GROUP]], names or numbers
	Terminal   bool     `json:"terminal,omitempty"`
	OpenStdin  bool     `json:"openStdin,omitempty"`
	StopSignal string   `json:"stopSignal,omitempty"`
	Hostname   string   `json:"hostname,omitempty"`

	Networks []NetworkConfig       `json:"networks,omitempty"`
	Ports    []plugins.PortMapping `json:"ports,omitempty"`
	DNS      plugins.DNS           `json:"dns,omitzero"` // over what the networks and the host say
	Mounts   []volume.Mount        `json:"mounts,omitempty"`

	AutoRemove bool     `json:"autoRemove,omitempty"`
	Security   Security `json:"security,omitzero"`
}

// Security loosens what is on by default.
type Security struct {
	SeccompUnconfined bool     `json:"seccompUnconfined,omitempty"`
	CapAdd            []string `json:"capAdd,omitempty"` // with the prefix CAP_
	CapDrop           []string `json:"capDrop,omitempty"`
}

// Status is how far a container's life has come.
type Status string

// The life of a container. Dead is never written: it is what a container is
// whose record says that it lives and whose supervisor does not.
const (
	Created Status = "created"
	Running Status = "running"
	Exited  Status = "exited"
	Dead    Status = "dead"
)

// State is how it went.
type State struct {
	Status     Status     `json:"status"`
	BootID     string     `json:"bootID,omitempty"`
	Supervisor int        `json:"supervisor,omitempty"` // pid
	PID        int        `json:"pid,omitempty"`        // of the container's init, as the host sees it
	ExitCode   int        `json:"exitCode"`
	Error      string     `json:"error,omitempty"` // why it could not be started or cleaned up
	Started    time.Time  `json:"started,omitzero"`
	Finished   time.Time  `json:"finished,omitzero"`
	NetNS      string     `json:"netns,omitempty"` // path on the host; empty: the host's own
	Endpoints  []Endpoint `json:"endpoints,omitempty"`
}

// Container is one container of a Store.
type Container struct {
	Config
	store *Store
}

// Dir is where everything about the container is kept.
func (c *Container) Dir() string { return c.store.dir(c.ID) }

// LogPath is the file of what the container has printed.
func (c *Container) LogPath() string { return filepath.Join(c.Dir(), "log") }

// ShortID is as much of the id as people are shown.
func (c *Container) ShortID() string { return shortID(c.ID) }

func shortID(id string) string { return id[:min(12, len(id))] }

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

const longestName = 128

func validName(name string) bool { return words.Name(name, longestName) }

func validID(id string) bool { return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" }

// validHostname is RFC 1123's.
func validHostname(name string) bool { return words.Host(name, "") }

// ValidateName refuses what could be a path, an option or an id's prefix that
// is read wrong on a screen.
func ValidateName(name string) error {
	if !validName(name) {
		return fmt.Errorf("container name %q: %w: want 1 to 128 letters, digits, '_', '.' or '-', beginning with a letter or digit", name, ErrInvalid)
	}
	return nil
}
