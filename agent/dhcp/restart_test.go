package dhcp_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest"
	client "github.com/berth-net/berth/plugins/dhcp"
	"github.com/berth-net/berth/state"
)

// acks is how often dnsmasq has given a lease or renewed it.
func (s *segment) acks() int {
	raw, _ := os.ReadFile(s.log)
	return strings.Count(string(raw), "DHCPACK(eth0)") + strings.Count(string(raw), "DHCPREPLY(eth0)")
}

// The agent ends as by kill -9: it tells nobody.
func TestLeasesOutliveTheAgent(t *testing.T) {
	t.Parallel()
	s := newSegment(t)
	c := s.host.NewContainer("c1")
	s.device(c)
	req, d := s.request(c, `,"ipv6":true`), client.New()
	r, err := d.Add(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	addr := r.IPs[0].Address.Addr().String()
	c.Run("ip", "address", "add", r.IPs[0].Address.String(), "dev", "eth0")
	s.stopAgent()
	if err := d.Check(t.Context(), req); err == nil {
		t.Error("CHECK succeeds without an agent")
	}
	s.startAgent()
	if err := d.Check(t.Context(), req); err != nil {
		t.Errorf("CHECK of the next agent: %v", err)
	}
	before := s.acks()
	nettest.Eventually(t, "both leases are renewed by the next agent", func() error {
		if n := s.acks(); n < before+2 {
			return fmt.Errorf("%d renewals", n-before)
		}
		return nil
	})
	s.stopAgent()
	s.renewWithin = 0 // nothing but DEL makes it speak
	s.startAgent()
	if err := d.Del(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	s.logged("DHCPRELEASE(eth0) " + addr)
	s.logged("DHCPRELEASE(eth0) 00:03:00:01:")
	s.stopAgent()
	s.startAgent()
	if err := d.Check(t.Context(), req); err == nil {
		t.Error("CHECK succeeds after DEL and another restart")
	}
}

func TestALeaseThatExpiredWithoutAnAgentIsRegained(t *testing.T) {
	t.Parallel()
	l := newLeased(t, families["IPv4"])
	l.stopAgent()
	l.fake.lead(func(s *fake) { s.give4 = l.second })
	time.Sleep(fakeWhole) // the time itself is what is tested
	l.startAgent()
	l.has(l.second)
	l.told(&l.problems, "lost "+l.first)
}

func TestAContainerThatEndedWithoutAnAgentIsForgotten(t *testing.T) {
	t.Parallel()
	l := newLeased(t, families["IPv4"])
	l.stopAgent()
	// Another device of the same name and place is another's.
	l.c.Run("ip", "link", "delete", "eth0")
	l.device(l.c)
	l.startAgent()
	if err := client.New().Check(t.Context(), l.request(l.c, "")); err == nil {
		t.Error("CHECK succeeds on another device")
	}
	if n := len(l.records()); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

func (s *segment) records() map[string]string {
	records := map[string]string{}
	err := s.store.View(func(tx *state.Tx) error {
		b := tx.Bucket([]byte("dhcp"))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			records[string(k)] = string(v)
			return nil
		})
	})
	if err != nil {
		s.Fatal(err)
	}
	return records
}

func TestDamagedRecordsAreToldAndLeftOut(t *testing.T) {
	t.Parallel()
	l := newLeased(t, families["IPv4"])
	l.stopAgent()
	const name = "lan\x00c1\x00eth0"
	good := l.records()[name]
	damaged := map[string]string{
		"lan\x00other\x00eth0": good,
		"lan\x00a\x00eth0":     good[:len(good)/2],
		"lan\x00b\x00eth0":     strings.Replace(strings.Replace(good, `"c1"`, `"b"`, 1), `"message":"`, `"message":"AAAA`, 1),
		"lan\x00c\x00eth0":     strings.Replace(strings.Replace(good, `"c1"`, `"c"`, 1), `"granted":`, `"granted":9`, 1),
		"lan\x00d\x00eth0":     strings.Replace(strings.Replace(good, `"c1"`, `"d"`, 1), `"family":4`, `"family":6`, 1),
		"lan\x00e\x00eth0":     strings.Replace(strings.Replace(good, `"c1"`, `"e"`, 1), `"netns":"/`, `"netns":"`, 1),
		"lan\x00f\x00../e":     strings.Replace(strings.Replace(good, `"c1"`, `"f"`, 1), `"eth0"`, `"../e"`, 1),
		"lan\x00g\x00eth0":     `null`,
	}
	err := l.store.Update(func(tx *state.Tx) error {
		for k, v := range damaged {
			if err := tx.Bucket([]byte("dhcp")).Put([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l.startAgent()
	for k := range damaged {
		l.told(&l.problems, fmt.Sprintf("record %q is left out", k))
	}
	if err := client.New().Check(t.Context(), l.request(l.c, "")); err != nil {
		t.Errorf("the good record: %v", err)
	}
	l.mu.Lock()
	if len(l.problems) != len(damaged) {
		t.Errorf("%d problems of %d damaged records: %q", len(l.problems), len(damaged), l.problems)
	}
	l.mu.Unlock()
	l.comes("RENEWING")
}
