package cniwire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/cniresult"
)

// maxConfig bounds standard input: a GC that lists 100,000 attachments is
// about 10 MB.
const maxConfig = 64 << 20

// config is the part of a plugin's configuration that concerns every driver.
// What a verb may do without stays raw until it is needed.
type config struct {
	CNIVersion    string          `json:"cniVersion"`
	Name          string          `json:"name"`
	Type          string          `json:"type"`
	Args          json.RawMessage `json:"args"`
	RuntimeConfig json.RawMessage `json:"runtimeConfig"`
	PrevResult    json.RawMessage `json:"prevResult"`

	// The specification's first text and its library disagreed on the name of
	// the key; libcni sends both (containernetworking/cni#1103).
	Valid    []attachment `json:"cni.dev/valid-attachments"`
	ValidOld []attachment `json:"cni.dev/attachments"`
}

type attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

func readConfig(stdin io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(stdin, maxConfig+1))
	switch {
	case err != nil:
		return nil, plugins.Errorf(plugins.CodeIO, "read the configuration from stdin: %w", err)
	case len(raw) > maxConfig:
		return nil, plugins.Errorf(plugins.CodeInvalidConfig, "stdin: the configuration is longer than %d bytes", maxConfig)
	case len(bytes.TrimSpace(raw)) == 0:
		return nil, plugins.Errorf(plugins.CodeDecode, "stdin: it is empty, and must have the network's configuration")
	}
	return raw, nil
}

func decodeConfig(raw []byte) (*config, error) {
	c := new(config)
	if err := unmarshal("configuration", raw, c); err != nil {
		return nil, err
	}
	if c.CNIVersion == "" {
		c.CNIVersion = Versions[0]
	}
	if why := nameProblem(c.Name); why != "" {
		return nil, configError("name: %q %s", c.Name, why)
	}
	// It is the name of a file that callers execute (CVE-2021-20206).
	if c.Type != "" && (strings.ContainsAny(c.Type, "/\x00") || c.Type == "." || c.Type == "..") {
		return nil, configError("type: %q is not the name of a plugin", c.Type)
	}
	return c, nil
}

// valid is the attachments that GC keeps. Without either key that is none:
// libcni says so to collect all of a network.
func (c *config) valid() ([]plugins.Attachment, error) {
	all := make([]plugins.Attachment, 0, len(c.Valid))
	for i, a := range slices.Concat(c.Valid, c.ValidOld) {
		if a.ContainerID == "" || a.IfName == "" {
			return nil, configError("cni.dev/valid-attachments[%d]: containerID and ifname must not be empty", i)
		}
		all = append(all, plugins.Attachment(a))
	}
	return all, nil
}

// decodePrev reads a prevResult of any version. Before 1.0.0 a result need
// not say its version: then it is the configuration's.
func decodePrev(raw json.RawMessage, version string) (*plugins.Result, error) {
	if isNull(raw) {
		return nil, nil
	}
	var keys map[string]json.RawMessage
	if err := unmarshal("prevResult", raw, &keys); err != nil {
		return nil, err
	}
	own, given := keys["cniVersion"]
	if !given || string(own) == `""` || isNull(own) {
		keys["cniVersion"] = json.RawMessage(`"` + version + `"`)
		var err error
		if raw, err = coldjson.Marshal(keys); err != nil {
			return nil, plugins.Errorf(plugins.CodeDecode, "prevResult: %w", err)
		}
	} else if err := unmarshal("prevResult.cniVersion", own, &version); err != nil {
		return nil, err
	}
	if !slices.Contains(Versions, version) {
		return nil, plugins.Errorf(plugins.CodeIncompatibleVersion,
			"prevResult.cniVersion: %q is not supported; the versions are %s", version, strings.Join(Versions, ", "))
	}
	prev, err := cniresult.Decode(raw)
	if err != nil {
		return nil, configError("prevResult: %w", err)
	}
	return prev, nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// unmarshal decodes the value of a key, and names the key below it that does
// not fit.
func unmarshal(key string, raw []byte, into any) error {
	err := coldjson.Unmarshal(raw, into)
	if err == nil {
		return nil
	}
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &kind) {
		return plugins.Errorf(plugins.CodeDecode, "%s: %w", key, err)
	}
	if kind.Field != "" {
		key += "." + kind.Field
	}
	return plugins.Errorf(plugins.CodeDecode, "%s: a JSON %s where %s belongs", strings.TrimPrefix(key, "configuration."), kind.Value, expected(kind))
}

func expected(e *json.UnmarshalTypeError) string {
	switch kind := e.Type.Kind().String(); kind {
	case "slice", "array":
		return "an array"
	case "struct", "map":
		return "an object"
	case "ptr", "interface":
		return "another type"
	case "string", "bool":
		return "a " + kind
	default:
		return fmt.Sprintf("a number (%s)", kind)
	}
}

func configError(format string, args ...any) error {
	return plugins.Errorf(plugins.CodeInvalidConfig, format, args...)
}
