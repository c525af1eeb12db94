// Package version is what the binaries say of themselves; the linker sets it.
package version

// Set by -ldflags "-X …"; the defaults are those of a plain go build.
var (
	Version = "0.0.0-dev"
	Commit  = "unknown"
)
