package dhcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/berth-net/berth/plugins"
)

// DefaultSocket is where the agent's DHCP client listens.
const DefaultSocket = "/run/berth/dhcp.sock"

// ErrNoAgent says that nobody listens on the socket.
var ErrNoAgent = errors.New("the agent that renews leases does not run; start it with: berth agent")

// Ask is the one line of JSON that the plugin writes to the socket.
type Ask struct {
	Verb        string `json:"verb"` // ADD, CHECK, DEL or STATUS
	Network     string `json:"network"`
	ContainerID string `json:"container"`
	IfName      string `json:"ifname"`
	NetNS       string `json:"netns"`
	Hostname    string `json:"hostname,omitempty"`
	IPv4        bool   `json:"ipv4"`
	IPv6        bool   `json:"ipv6"`
}

// Answer is the one line that comes back. Code is zero on success.
type Answer struct {
	IPs    []plugins.IP    `json:"ips,omitempty"`
	Routes []plugins.Route `json:"routes,omitempty"`
	DNS    plugins.DNS     `json:"dns,omitzero"`
	Code   plugins.Code    `json:"code,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// patience bounds an exchange: the server's own tries end before.
const patience = 40 * time.Second

// call asks the agent. It fails with ErrNoAgent where there is none.
func call(ctx context.Context, socket string, ask Ask) (*Answer, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("ask %s: %w", socket, ErrNoAgent)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", socket, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(conn).Encode(ask); err != nil {
		return nil, fmt.Errorf("ask %s: %w", socket, err)
	}
	answer := new(Answer)
	if err := json.NewDecoder(conn).Decode(answer); err != nil {
		return nil, fmt.Errorf("answer of %s: %w", socket, err)
	}
	if answer.Code != 0 {
		return nil, plugins.Errorf(answer.Code, "%s", answer.Error)
	}
	return answer, nil
}
