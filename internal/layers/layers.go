// Package layers is the table of which package may import which. The test
// beside it enforces the table, and docs/architecture.md is drawn from it.
package layers

// Layer is a row: the packages below these folders are Rank, and import only
// packages of a lower rank, except as Peers says.
type Layer struct {
	Rank    int
	Folders []string // relative to the module; a package belongs to the longest that fits
	What    string
	Peers   string // why packages of this row may import each other; empty: they may not
}

// Table is read from the bottom up, like the suite.
var Table = []Layer{
	{Rank: 9, Folders: []string{"cmd"}, What: "binaries: flags in, words out", Peers: "the flags that berth and berth-agent share"},
	{Rank: 8, Folders: []string{"cniwire", "agent", "runtime"}, What: "adapters: CNI's wire, the long-running agent, the container runtime", Peers: "runtime and agent are made of several packages"},
	{Rank: 7, Folders: []string{"network"}, What: "the catalogue of networks and their endpoints"},
	{Rank: 6, Folders: []string{"plugins/table"}, What: "the name → driver table"},
	{Rank: 5, Folders: []string{"plugins/bridge", "plugins/host", "plugins/macvlan", "plugins/none", "plugins/overlay", "plugins/loopback", "plugins/ipam", "plugins/dhcp"}, What: "drivers, one network type each"},
	{Rank: 4, Folders: []string{"plugins/attach"}, What: "what the drivers' Add and Del have in common"},
	{Rank: 3, Folders: []string{"ipam", "firewall", "dns", "endpoint", "agent/api"}, What: "capabilities: addresses, rules and ports, names, records, the agent's socket", Peers: "what they keep and say is keyed by endpoint.Key"},
	{Rank: 2, Folders: []string{"plugins"}, What: "the contract of a driver: types only"},
	{Rank: 1, Folders: []string{"netdev", "state"}, What: "the kernel's devices; the database of this boot"},
	{Rank: 0, Folders: []string{"netns"}, What: "open, create, pin and enter network namespaces"},
}

// Off the table: they may import anything, and nothing on the table may
// import them, because test support has no place in what people run.
var Apart = []string{"nettest", "test", "bench", "internal"}

// Shared lists what everything may import although it is below Apart.
var Shared = []string{"internal/coldjson", "internal/flock", "internal/pause", "internal/version", "internal/words"}

// Forbidden are imports that the ranks alone do not exclude.
var Forbidden = []struct{ Folder, Import, Why string }{
	{"cmd/berth-cni", "github.com/opencontainers/runc", "it needs cgo, and the plugins are one static cgo-free binary"},
	{"cmd/berth-cni", "github.com/spf13/cobra", "every ADD would pay for it"},
	{"cmd/berth-cni", "go.etcd.io/etcd", "a client in the plugin would triple its size: the agent holds it"},
	{"cmd/berth-cni", "github.com/miekg/dns", "a plugin answers no queries: the agent and the supervisors do"},
	{"cmd/berth-cni", "github.com/prometheus", "a process that lives for milliseconds has no metrics"},
	{"cmd/berth-cni", "golang.zx2c4.com/wireguard", "the agent holds the mesh of encrypted networks and its keys"},
	{"cmd/berth", "go.etcd.io/etcd", "its start would be paid for by every command and container: cmd/berth-agent has it"},
	{"cmd/berth", "google.golang.org/grpc", "its start would be paid for by every command and container: cmd/berth-agent has it"},
	{"cmd/berth", "github.com/prometheus", "its start would be paid for by every command and container: cmd/berth-agent has it"},
	{"cmd/berth", "golang.zx2c4.com/wireguard", "its start would be paid for by every command and container: cmd/berth-agent has it"},
	{"network", "go.etcd.io/etcd", "the agent is the sole importer of etcd's client"},
	{"runtime", "go.etcd.io/etcd", "the agent is the sole importer of etcd's client"},
	{"plugins", "github.com/containernetworking/cni/pkg/skel", "drivers return results; only the adapter prints and exits"},
	{"plugins/overlay", "go.etcd.io/etcd", "the driver speaks to the agent over a socket"},
}
