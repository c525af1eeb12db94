package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// Errors that callers tell apart.
var (
	ErrAway      = errors.New("etcd does not answer")
	ErrSchema    = errors.New("the cluster's keys are of another schema")
	ErrNameTaken = errors.New("another host of the cluster has this name")
)

// Options say how to reach etcd and who this host is.
type Options struct {
	Servers  []string
	TLS      *tls.Config // nil: none
	User     string
	Password string
	TTL      time.Duration // of what hangs on this host's life; at least 2 s
	Log      *slog.Logger

	// OnChange is told of every update of the view, in order, by one
	// goroutine.
	OnChange func(Change)

	// Dial connects to a server; nil: as net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// patience is how long a request waits for etcd.
const patience = 3 * time.Second

// window is how much etcd may send before it is read, in bytes: the whole of a
// first reading's page and more.
const window = 1 << 20

// Client is this host's connection to the cluster.
type Client struct {
	options Options
	etcd    *clientv3.Client
	view    *View
	synced  chan struct{} // closed when the view is complete for the first time
	once    sync.Once
	line    *line

	remembering sync.Mutex // the memory file

	mu       sync.Mutex
	self     Host
	former   map[netip.Addr]bool // addresses that this agent has told before
	lease    clientv3.LeaseID
	want     map[string]string // leased keys that this host publishes
	have     map[string]string // those that etcd has on the current lease
	complete bool              // want has all endpoints of this host
	wake     chan struct{}
	stirred  chan struct{} // see stir
	lastSeen time.Time
	lastErr  error
	unwatch  context.CancelFunc // ends the watch under way
	checked  bool               // the schema of the cluster's keys is known
	refused  error              // why this berth must not touch them
	namesake error              // why this host must not
	begun    bool               // that is known
	cause    error              // of lastErr, as far as diagnose finds one
	lost     map[string]*lost   // networks that etcd has no more

	predecessors map[string]netip.Addr // names by which this host may have something, and its address then
	estate       []string              // keys that its agents of other names have told

	recovering time.Time // until when others may not have told etcd again what it lost
}

// Open prepares the connection; Run uses it. It does not wait for etcd.
func Open(o Options) (*Client, error) {
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	l := &line{connect: o.Dial, known: map[string]bool{}}
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints: o.Servers, TLS: o.TLS, Username: o.User, Password: o.Password,
		DialTimeout: patience,
		DialOptions: []grpc.DialOption{
			grpc.WithContextDialer(l.dial),
			// A partition shows as silence; without this the watch would wait
			// for TCP to give up.
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: patience}),
			// With a window of a given size gRPC does not measure the line, which
			// takes a ping and its answer for each message.
			grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
			// gRPC by itself waits ever longer between attempts, two minutes in
			// the end, and twenty seconds in each: so much later than etcd
			// would this host be back.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: retry, Multiplier: 1.6, Jitter: 0.2, MaxDelay: patience},
				MinConnectTimeout: patience,
			}),
		},
		Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd %q: %w", o.Servers, err)
	}
	c := &Client{
		options: o, etcd: etcd, view: newView(), synced: make(chan struct{}),
		want: map[string]string{}, have: map[string]string{}, lost: map[string]*lost{}, wake: make(chan struct{}, 1), stirred: make(chan struct{}),
		line: l, former: map[netip.Addr]bool{},
	}
	// Behind it may be another etcd, or the same one with an older state.
	l.again = c.reread
	return c, nil
}

// Close ends the connection. What is leased stays until the lease ends, so
// that an agent that is merely restarted is not missed.
func (c *Client) Close() error { return c.etcd.Close() }

// View is this host's copy of the cluster.
func (c *Client) View() *View { return c.view }

// Synced is closed when the view is complete for the first time.
func (c *Client) Synced() <-chan struct{} { return c.synced }

// Health tells when etcd last answered, and what is wrong since.
func (c *Client) Health() (lastSeen time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastSeen, c.lastErr
}

// seen notes how a request ended and gives its error the meaning that callers
// look for.
func (c *Client) seen(what string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.lastSeen, c.cause = time.Now(), nil
	case c.cause != nil:
		err = fmt.Errorf("%s: %w: %w", what, ErrAway, c.cause)
	default:
		err = fmt.Errorf("%s: %w: %w", what, ErrAway, err)
	}
	if c.lastErr = err; err != nil {
		c.stir()
	}
	return err
}

// stir wakes who waits for something that c.mu guards. It is held.
func (c *Client) stir() {
	close(c.stirred)
	c.stirred = make(chan struct{})
}

// Run keeps the view and what this host publishes, until ctx ends.
func (c *Client) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { c.follow(ctx) })
	wg.Go(func() { c.publish(ctx) })
	wg.Wait()
}
