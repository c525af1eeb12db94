// Package probe finds out whether VXLAN packets get through to the other
// hosts, and whether the checksums inside are right when they arrive.
//
// An agent has a VXLAN device for it, apart from the networks' own: with a
// VNI of its own, on no bridge, without an address. Questions and answers go
// through a packet socket on that device and so take the way of containers'
// packets: the same UDP port, the same tunnel, the same network card. What a
// container's kernel leaves to the card, a probe leaves to it too.
package probe

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/netdev"
)

// VNI is the one of the probes. The cluster gives it to no network.
const VNI = 1<<24 - 1

// patience is how long a question waits for its answer, and attempts how
// often it is asked.
const (
	patience = 300 * time.Millisecond
	attempts = 3
)

// Options say where a prober sends from.
type Options struct {
	Host  string     // this host's name in the cluster
	Port  uint16     // of VXLAN
	Local netip.Addr // this host's end of tunnels
}

// Prober asks and answers on one UDP port of VXLAN.
type Prober struct {
	Options
	dev  *netdev.Handle
	link netdev.Link
	file *os.File

	mu      sync.Mutex
	peers   map[string]netip.Addr
	waiting map[uint64]chan bool // gets whether the checksum was right
}

// Result is what is known of the way to a peer.
type Result struct {
	Answered  bool
	RoundTrip time.Duration
	// Checksums tells whether those that were left to the device arrived
	// right, or at all.
	Checksums bool
}

// Open makes the device in the namespace of the calling thread, anew where an
// agent that was killed has left it, and answers from now on.
func Open(dev *netdev.Handle, o Options) (*Prober, error) {
	name := fmt.Sprintf("vxprobe-%d", o.Port)
	if err := dev.DeleteLink(name); err != nil {
		return nil, err
	}
	link, err := dev.AddVXLAN(netdev.VXLAN{
		// The alias is not that of an attachment's device, which a reconcile
		// would miss the record of.
		Name: name, Alias: "probe of berth's agent", VNI: VNI, Port: o.Port, Local: o.Local, MAC: macOf("device of " + o.Host), MTU: 1280,
	})
	if err != nil {
		return nil, err
	}
	p := &Prober{Options: o, dev: dev, link: link, peers: map[string]netip.Addr{}, waiting: map[uint64]chan bool{}}
	err = dev.SetSysctl("ipv6/conf/"+name+"/disable_ipv6", "1")
	if err == nil {
		err = dev.SetVXLANUp(link, o.Port)
	}
	if err == nil {
		p.file, err = packetSocket(link.Attrs().Index)
	}
	if err != nil {
		return nil, errors.Join(err, dev.DeleteLink(name))
	}
	go p.serve()
	return p, nil
}

// packetSocket takes and gives IPv4 frames with what is known of their
// checksums before each.
func packetSocket(index int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IP), Ifindex: index}),
	)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind packet socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "probe"), nil
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// macOf is a locally administered address that follows from a name.
func macOf(name string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(name))
	return append(net.HardwareAddr{0x1e}, sum[:5]...)
}

// Intact tells whether the device is still there and sends from local.
func (p *Prober) Intact(local netip.Addr) bool {
	link, err := p.dev.LinkByIndex(p.link.Attrs().Index)
	return err == nil && local == p.Local && link.Attrs().Flags&net.FlagUp != 0
}

// Close removes the device.
func (p *Prober) Close() error {
	return errors.Join(p.file.Close(), p.dev.DeleteLink(p.link.Attrs().Name))
}

// SetPeers says where the other hosts are.
func (p *Prober) SetPeers(peers map[string]netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var changes netdev.Entries
	for name := range p.peers {
		if _, ok := peers[name]; !ok {
			delete(p.peers, name)
			changes.DropFDB(p.link, macOf(name))
		}
	}
	for name, addr := range peers {
		if p.peers[name] == addr || addr.Is4() != p.Local.Is4() {
			continue
		}
		p.peers[name] = addr
		changes.SetFDB(p.link, macOf(name), addr)
	}
	return p.dev.Apply(&changes)
}

// Ask finds out about peers, all at once.
func (p *Prober) Ask(ctx context.Context, names []string) map[string]Result {
	results := make([]Result, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { results[i] = p.askOne(ctx, name) })
	}
	wg.Wait()
	byName := map[string]Result{}
	for i, name := range names {
		byName[name] = results[i]
	}
	return byName
}

func (p *Prober) askOne(ctx context.Context, name string) (r Result) {
	begin := time.Now()
	r.Answered = p.try(ctx, Plain, name)
	r.RoundTrip = time.Since(begin)
	r.Checksums = r.Answered && p.try(ctx, UDP, name) && p.try(ctx, TCP, name)
	return r
}

// try asks some times, and tells whether a right checksum was confirmed once.
func (p *Prober) try(ctx context.Context, kind Kind, name string) bool {
	for range attempts {
		if p.once(ctx, kind, name) {
			return true
		}
	}
	return false
}

func (p *Prober) once(ctx context.Context, kind Kind, name string) bool {
	token, answer := rand.Uint64(), make(chan bool, 1)
	p.mu.Lock()
	p.waiting[token] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, token)
		p.mu.Unlock()
	}()
	if _, err := p.file.Write(frame(kind, macOf(p.Host), macOf(name), message{kind: kind, token: token})); err != nil {
		return false
	}
	select {
	case good := <-answer:
		return good
	case <-time.After(patience):
	case <-ctx.Done():
	}
	return false
}

// serve answers questions and hands out answers until the socket is closed.
func (p *Prober) serve() {
	buf := make([]byte, 2048)
	for {
		n, err := p.file.Read(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // told once when the device goes down
		}
		if err != nil {
			return
		}
		r, err := open(buf[:n])
		switch {
		case err != nil:
		case r.answer:
			p.deliver(r)
		default:
			// To one that is no peer it goes nowhere.
			_, _ = p.file.Write(frame(Plain, macOf(p.Host), r.from, message{answer: true, kind: r.kind, good: r.good, token: r.token}))
		}
	}
}

func (p *Prober) deliver(r *received) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if answer := p.waiting[r.token]; answer != nil {
		select {
		case answer <- r.message.good:
		default:
		}
	}
}
