package firewall_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/firewall"
	"github.com/berth-net/berth/nettest"
)

var update = flag.Bool("update", false, "write docs/firewall.md anew")

const docHead = `# The packet filter

This page is generated from a running ruleset by ` + "`go test ./firewall -run TestDocumentation -update`" + `; a test fails
where the two differ.

berth owns the table ` + "`inet berth`" + `, ` + "`bridge berth`" + ` where a network has ` + "`macspoofchk`" + `, and ` + "`ip berth`" + ` and ` + "`ip6 berth`" + `
where ports are published strictly. It touches no other table and no policy. The rules never change: networks are
elements of the first sets, by the name of their bridge, and containers are elements of the others. So an attachment
costs the same with ten containers and with five thousand, and so does a packet. All hooks stand behind the customary
priorities, so the rules of the administrator and of other tools decide first.

Strictly published ports are those for which the host's INPUT rules decide, whoever wrote them. Only a packet that is for
the host passes INPUT, and a destination can be translated only before that. So what INPUT has let in is copied around a
loop, the veth pair ` + "`berth-strict`" + ` and ` + "`berth-again`" + `, and translated when it comes in again; what follows it belongs to
its connection and takes no detour. Nothing is lost, and INPUT decides of each connection. A copy has a mark on its way,
by which filters of the reverse path that look at marks (those of firewalld and NixOS do) find its way back; what an OUTPUT of
iptables drops is answered as FORWARD is. Containers of internal networks have a loop of their own, ` + "`berth-strict-in`" + `, that leads into their
network only. Where the copy gets lost all the same, by a rule that drops it or because the kernel cannot copy, the client's
second packet is translated, because INPUT has let in the first (` + "`admitted4`, `admitted6`" + `): a new client waits a second, and
then has ten minutes.

Below is one network, ` + "`br-front`" + `, with one container that has the addresses 10.10.0.2 and fd10:10::2, is masqueraded
and guarded, and publishes, strictly: 8080 to 80 for TCP, the range 9000 to 9099 for UDP, three shifted SCTP ports, and
ports on one address of the host only.

`

func TestDocumentationIsTheRunningRuleset(t *testing.T) {
	t.Parallel()
	h := nettest.NewHost(t, "h")
	if err := h.Do(func() error { return firewall.NFTables{}.Add(sampleNetwork(), sampleEndpoint()) }); err != nil {
		t.Fatal(err)
	}
	text := docHead + "```\n" + h.Run("nft", "list", "ruleset") + "```\n"
	const path = "../docs/firewall.md"
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Hash sets are listed in no order.
	if sorted(string(have)) != sorted(text) {
		t.Errorf("docs/firewall.md differs from the running ruleset; run the test with -update and look at the difference")
	}
}

// sorted is the text's words in order, whatever theirs was.
func sorted(text string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n,{}", r) })
	slices.Sort(words)
	return strings.Join(words, " ")
}
