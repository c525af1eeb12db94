package agent_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
)

// Settings of TestChaos, from the environment.
const (
	chaosSeconds = "BERTH_CHAOS_SECONDS" // of the walk; what follows it takes some more
	chaosSeed    = "BERTH_CHAOS_SEED"    // of all that is random
)

// chaosTTL is the agents'. An agent that is killed is back, and has its
// endpoints on a new lease, well before the old one ends.
const chaosTTL = 6 * time.Second

// chaosReclaim is the agents' in a long walk. However often etcd is killed, no
// host is without it for three quarters of that.
const chaosReclaim = 4 * chaosTTL

// narrow has eight blocks of four IPv4 addresses, so that the hosts ask for
// blocks all the time and sometimes find none.
const narrow = `{"type":"overlay","controlPlane":"etcd","ipMasq":true,"ipam":{"type":"berth-ipam","ranges":[
	[{"subnet":"10.42.0.0/27","gateway":"10.42.0.1"}],[{"subnet":"fd42::/64","gateway":"fd42::1"}]],
	"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}`

// TestChaos has containers come and go on every host while agents, etcd and
// plugins are killed, and one host after another is cut off, damaged and given
// other addresses. At the end every host's entries and leases are those of the
// containers that are left, no address was given twice, and containers that
// nobody touched, on hosts that nobody damaged, never lost a packet.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("a walk of some seconds")
	}
	t.Parallel()
	c := newChaos(t)
	stop := c.gather()
	for lap, begin := 0, time.Now(); time.Since(begin) < c.walk; lap++ {
		c.lap(lap % len(c.hosts))
		if c.isLong() && lap%4 == 3 {
			c.exile(c.rand.IntN(len(c.hosts)))
		}
	}
	c.lastBlow()
	stop()
	for _, what := range slices.Sorted(maps.Keys(c.did)) {
		t.Logf("%4d %s", c.did[what], what)
	}
	c.judge()
}

type chaos struct {
	*world
	plugin string // path of the binary
	rand   *rand.Rand
	walk   time.Duration
	at     []string                    // of each host: its address on the underlay
	calm   []*member                   // one on each host, never touched
	crowds []*crowd                    // one on each host
	killed map[*nettest.Host]time.Time // when its agent was, last

	mu      sync.Mutex // guards what follows
	victim  *nettest.Host
	holders map[netip.Addr]string // container by address
	did     map[string]int        // how often, by what
}

func newChaos(t *testing.T) *chaos {
	seconds, err := strconv.Atoi(cmp.Or(os.Getenv(chaosSeconds), "6"))
	if err != nil {
		t.Fatalf("%s: %v", chaosSeconds, err)
	}
	seed := rand.Uint64()
	if given := os.Getenv(chaosSeed); given != "" {
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("%s: %v", chaosSeed, err)
		}
	}
	t.Logf("%s=%d", chaosSeed, seed)
	c := &chaos{
		plugin: buildPlugin(t), rand: rand.New(rand.NewPCG(seed, 0)), walk: time.Duration(seconds) * time.Second,
		killed: map[*nettest.Host]time.Time{}, holders: map[netip.Addr]string{}, did: map[string]int{},
	}
	settings := []string{agentTTL + "=" + chaosTTL.String()}
	if c.isLong() {
		settings = append(settings, agentReclaim+"="+chaosReclaim.String())
	}
	c.world = newWorldWith(t, bothFamilies, 3, func(int) []string { return slices.Clone(settings) })
	for i, h := range c.hosts {
		c.at = append(c.at, fmt.Sprintf("192.0.2.%d", i+1))
		crowd := &crowd{chaos: c, host: h, rand: rand.New(rand.NewPCG(seed, uint64(i+1)))}
		c.crowds = append(c.crowds, crowd)
		c.calm = append(c.calm, crowd.settle())
	}
	c.everyPair(c.calm)
	return c
}

// gather lets the containers come and go, until the function that it returns
// is called or the test ends.
func (c *chaos) gather() (stop func()) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	for _, crowd := range c.crowds {
		wg.Go(func() { crowd.mill(done) })
	}
	stop = sync.OnceFunc(func() { close(done); wg.Wait() })
	c.Cleanup(stop)
	return stop
}

// isLong tells whether there is time for a host to be given up.
func (c *chaos) isLong() bool { return c.walk >= time.Minute }

// lapLength is how long one host is the victim: in a long walk a lease may end
// meanwhile.
func (c *chaos) lapLength() time.Duration { return min(c.walk/3, 2*chaosTTL) }

// lap does harm, of which what may lose packets befalls the victim. The calm
// containers of the others lose none.
func (c *chaos) lap(victim int) {
	check := c.watchTraffic(victim, c.lapLength())
	for !check() {
		c.harm(victim)
		c.wait(c.rand, 150*time.Millisecond)
	}
}

// watchTraffic has the calm containers of the other hosts than the victim ping
// each other for a time. It returns a function that tells whether the time is
// over, and that none of them may have lost a packet.
func (c *chaos) watchTraffic(victim int, during time.Duration) (isOver func() bool) {
	c.mu.Lock()
	c.victim = nil
	c.mu.Unlock()
	a, b := c.calm[(victim+1)%3], c.calm[(victim+2)%3]
	c.awaitAgent((victim + 1) % 3) // one of them was the victim before
	c.awaitAgent((victim + 2) % 3)
	c.meet(a, b)
	c.mu.Lock()
	c.victim = c.hosts[victim]
	c.mu.Unlock()
	var pings []*nettest.Process
	const interval = 100 * time.Millisecond
	for _, ip := range b.ips {
		// With a count it waits for the last reply.
		pings = append(pings, a.Background("ping", "-i", "0.1", "-c", strconv.Itoa(int(during/interval)), "-W", "2", "-q", ip.String()))
	}
	return func() bool {
		if !ended(pings) {
			return false
		}
		for _, p := range pings {
			if out := p.Output(); !strings.Contains(out, " 0% packet loss") {
				c.Errorf("the untouched containers %s and %s lost packets:\n%s%s%s", a.Name, b.Name, out, c.explain(a.host), c.explain(b.host))
			}
		}
		return true
	}
}

// meet waits until two containers reach each other.
func (c *chaos) meet(a, b *member) {
	for _, ip := range b.ips {
		c.eventually(a.Name+" to reach "+b.Name, func() error {
			c.reviveAgents()
			err := a.TryPing(ip.String())
			if err != nil {
				err = fmt.Errorf("%w\n%s\n%s", err, c.explain(a.host), c.explain(b.host))
			}
			return err
		})
	}
}

func ended(all []*nettest.Process) bool {
	for _, p := range all {
		select {
		case <-p.Done():
		default:
			return false
		}
	}
	return true
}

func (c *chaos) wait(by *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(by.Int64N(int64(most)))) // when a thing happens, and how long it lasts, is part of the walk
}

// note counts what was done or was answered.
func (c *chaos) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.did[what]++
}

// A choice is something to do, as often as its weight says.
type choice struct {
	weight int
	do     func()
}

func choose(by *rand.Rand, choices []choice) {
	total := 0
	for _, x := range choices {
		total += x.weight
	}
	at := by.IntN(total)
	for _, x := range choices {
		if at -= x.weight; at < 0 {
			x.do()
			return
		}
	}
}
