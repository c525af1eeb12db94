package dhcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/berth-net/berth/netdev"
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

	Routes   []plugins.Route  `json:"routes,omitempty"`   // besides the server's; DHCPv6 has none (RFC 8415 section 18.2.10.1)
	Priority int              `json:"priority,omitempty"` // of the server's routes
	Provide  map[uint8]string `json:"provide,omitempty"`  // options of DHCPv4 to send, by number
	Request  []uint8          `json:"request,omitempty"`  // options of DHCPv4 to ask for besides the usual
}

// Validate refuses what cannot name an attachment.
func (a *Ask) Validate() error {
	for what, value := range map[string]string{"network": a.Network, "container": a.ContainerID} {
		if value == "" || strings.Contains(value, "\x00") {
			return fmt.Errorf("%s: %q is no name", what, value)
		}
	}
	if why := netdev.NameProblem(a.IfName); why != "" {
		return fmt.Errorf("ifname: %q %s", a.IfName, why)
	}
	return nil
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
	err = json.NewDecoder(conn).Decode(answer)
	var foreign *json.SyntaxError
	if errors.As(err, &foreign) {
		return nil, fmt.Errorf("answer of %s: it is another daemon's, not berth agent's (%w); leave daemonSocketPath away", socket, err)
	}
	if err != nil {
		return nil, fmt.Errorf("answer of %s: %w", socket, err)
	}
	if answer.Code != 0 {
		return nil, plugins.Errorf(answer.Code, "%s", answer.Error)
	}
	return answer, nil
}
