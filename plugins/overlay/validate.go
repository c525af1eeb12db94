package overlay

import "github.com/berth-net/berth/plugins"

// Validate tells what is wrong with a network's JSON object, as an Add would,
// without looking at the host.
func Validate(network string, object []byte) error {
	_, err := parse(&plugins.Network{Name: network, Type: "overlay", Config: object})
	return err
}
