package cniwire

import (
	"errors"
	"strings"

	"github.com/berth-net/berth/internal/coldjson"
	"github.com/berth-net/berth/plugins"
)

// versionInfo answers VERSION. Standard input is not read: a person at a
// terminal need not end it, and clients accept the newest version as the
// answer's own.
func versionInfo() ([]byte, error) {
	return marshal(struct {
		CNIVersion string   `json:"cniVersion"`
		Supported  []string `json:"supportedVersions"`
	}{Newest, Versions})
}

// errorJSON is the error object of the specification, section "Error".
func errorJSON(err error, version string) []byte {
	code := plugins.CodeInternal
	var coded *plugins.Error
	if errors.As(err, &coded) {
		code = coded.Code
	}
	// Joined errors are lines, and so is a stack; the first says what failed.
	msg, details, _ := strings.Cut(err.Error(), "\n")
	out, err := marshal(struct {
		CNIVersion string       `json:"cniVersion"`
		Code       plugins.Code `json:"code"`
		Msg        string       `json:"msg"`
		Details    string       `json:"details,omitempty"`
	}{version, code, msg, details})
	if err != nil {
		return []byte(`{"code":999,"msg":"encode error"}`)
	}
	return out
}

func marshal(v any) ([]byte, error) {
	out, err := coldjson.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}
