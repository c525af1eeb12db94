// Package volume keeps named volumes and resolves what a container mounts:
// volumes, bind mounts and tmpfs.
package volume

// Kind of a mount.
type Kind string

const (
	Bind   Kind = "bind"
	Volume Kind = "volume"
	Tmpfs  Kind = "tmpfs"
)

// Mount is one mount of a container.
type Mount struct {
	Kind     Kind   `json:"kind"`
	Source   string `json:"source,omitempty"` // of a bind, a path; of a volume, its name
	Target   string `json:"target"`           // absolute, in the container
	ReadOnly bool   `json:"readOnly,omitempty"`
	Options  string `json:"options,omitempty"` // of a tmpfs
}
