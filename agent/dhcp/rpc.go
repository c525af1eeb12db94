package dhcp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"strings"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/berth-net/berth/plugins"
	"github.com/berth-net/berth/plugins/cniresult"
	contract "github.com/berth-net/berth/plugins/dhcp"
)

// UpstreamSocket is where the CNI project's plugin dhcp looks for its daemon.
// Every socket of a Server speaks its protocol besides our own.
const UpstreamSocket = "/run/cni/dhcp.sock"

// converseRPC speaks with the CNI project's plugin: net/rpc in gob, behind
// the request by which that begins on HTTP.
func (s *Server) converseRPC(ctx context.Context, conn net.Conn, in *bufio.Reader) {
	req, err := http.ReadRequest(in)
	if err != nil || req.Method != http.MethodConnect || req.URL.Path != rpc.DefaultRPCPath {
		s.Log.Warn("dhcp request is of neither protocol", "error", err)
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.0 200 Connected to Go RPC\n\n"); err != nil {
		return
	}
	conn.SetDeadline(time.Now().Add(rpcWithin))
	server := rpc.NewServer()
	if err := server.RegisterName("DHCP", &upstream{ctx, s}); err != nil {
		s.Log.Error("serve dhcp by RPC", "err", err)
		return
	}
	server.ServeConn(struct {
		io.Reader
		io.WriteCloser
	}{io.LimitReader(in, maxAsk), conn})
}

// rpcWithin bounds a conversation: the client's tries are over before.
const rpcWithin = 40 * time.Second

// upstream has the methods of that daemon.
type upstream struct {
	ctx    context.Context // of the server, for net/rpc has none
	server *Server
}

// CmdArgs are its arguments: the type of that name in the library's package
// skel, which gob knows by its fields.
type CmdArgs struct {
	ContainerID, Netns, IfName, Args, Path, NetnsOverride string
	StdinData                                             []byte
}

func (a *CmdArgs) ask(verb string) (contract.Ask, error) {
	var network struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(a.StdinData, &network); err != nil {
		return contract.Ask{}, fmt.Errorf("decode configuration: %w", err)
	}
	req := &plugins.Request{
		Network:     plugins.Network{Name: network.Name, Config: a.StdinData},
		ContainerID: a.ContainerID, NetNS: a.Netns, IfName: a.IfName, Args: plugins.Args{Raw: map[string]string{}},
	}
	for pair := range strings.SplitSeq(a.Args, ";") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			req.Args.Raw[key] = value
		}
	}
	req.Args.Pod.Name = req.Args.Raw["K8S_POD_NAME"]
	return contract.NewAsk(verb, req)
}

// Allocate is that plugin's ADD, and its CHECK, which is to find the lease
// that is there.
func (u *upstream) Allocate(args *CmdArgs, result *current.Result) error {
	ask, err := args.ask("ADD")
	if err != nil {
		return err
	}
	answer := u.server.standing(ask)
	if answer == nil {
		if answer, err = u.server.answer(u.ctx, ask); err != nil {
			return err
		}
	}
	*result = *cniresult.ToCNI(&plugins.Result{IPs: answer.IPs, Routes: answer.Routes, DNS: answer.DNS})
	return nil
}

// standing is the answer of a lease that the very device has already, or nil.
func (s *Server) standing(ask contract.Ask) *contract.Answer {
	l := s.lease(keyOf(ask))
	if l == nil || l.where.path != ask.NetNS || !l.alive() {
		return nil
	}
	if err := l.where.there(); err != nil {
		return nil
	}
	return l.answer()
}

// Release is its DEL.
func (u *upstream) Release(args *CmdArgs, _ *struct{}) error {
	ask, err := args.ask("DEL")
	if err != nil {
		return err
	}
	_, err = u.server.answer(u.ctx, ask)
	return err
}
