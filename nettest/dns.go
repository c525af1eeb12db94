package nettest

import (
	"context"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// LookUp asks a server, ADDRESS:PORT, for a name from inside the host, and
// returns the answer's code and records as text, such as "NOERROR 10.1.0.2",
// or the error. The kind is one of dns.TypeA and so on.
func (h *Host) LookUp(server, name string, kind uint16) string {
	conn, err := h.Dial(context.Background(), "udp", server)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	answer, _, err := (&dns.Client{Timeout: 5 * time.Second}).ExchangeWithConn(question, &dns.Conn{Conn: conn})
	if err != nil {
		return err.Error()
	}
	text := dns.RcodeToString[answer.Rcode]
	for _, rr := range answer.Answer {
		text += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	return text
}
