package vm

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/nettest/vm"
)

const (
	root   = "../.."
	module = "github.com/berth-net/berth"
	// The kernel that build/deps.sh unpacks there.
	kernelDir = root + "/bin/linux-image-amd64"
)

var only = flag.String("only", "", "run only those tests in the guest whose names this expression matches")

// TestOnAKernelThatHasEverything boots once and runs every test of the
// repository that says what it needs of the kernel. None may skip there.
func TestOnAKernelThatHasEverything(t *testing.T) {
	t.Parallel()
	kernel := findKernel(t)
	packages, err := vm.Needing(root, module)
	if err != nil {
		t.Fatal(err)
	}
	guest := &vm.Guest{
		Kernel: kernel, Tests: chosen(t, packages), Timeout: 10 * time.Minute,
		Modules: []string{
			"drivers/net/dummy.ko", "drivers/net/ifb.ko", "drivers/net/ipvlan/ipvlan.ko", "drivers/net/macvlan.ko", "drivers/net/tun.ko",
			"drivers/net/veth.ko", "drivers/net/vxlan/vxlan.ko", "drivers/net/wireguard/wireguard.ko", "drivers/net/wireless/mac80211_hwsim.ko",
			"crypto/crc32c_generic.ko", "fs/overlayfs/overlay.ko",
			"net/8021q/8021q.ko", "net/bridge/bridge.ko", "net/bridge/br_netfilter.ko", "net/bridge/netfilter/nf*",
			"net/sched/cls_bpf.ko", "net/sched/sch_ingress.ko", "net/sched/sch_tbf.ko", "net/sctp/sctp.ko",
			"net/ipv4/netfilter/nf*", "net/ipv6/netfilter/nf*", "net/netfilter/nft_*",
			"net/netfilter/nf_conntrack_netlink.ko", "net/netfilter/xt_[MN]A*", "net/netfilter/xt_[acmnst]*",
		},
		// Without these they would make devices of the machine's own.
		Parameters: []string{"dummy numdummies=0", "ifb numifbs=0", "mac80211_hwsim radios=0"},
		Programs:   []string{"ip", "bridge", "tc", "nft", "etcd", "iptables", "ip6tables", "iptables-restore", "ip6tables-restore", "iptables-save", "ip6tables-save"},
		Trees:      []string{"/usr/lib/x86_64-linux-gnu/xtables"},
	}
	ctx := t.Context()
	if deadline, ok := t.Deadline(); ok { // leave time to tell what the guest said
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-20*time.Second))
		defer cancel()
	}
	results, err := guest.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		report(t, r)
	}
}

// chosen leaves of the packages what the flag names.
func chosen(t *testing.T, packages []vm.Package) (some []vm.Package) {
	t.Helper()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		t.Fatalf("-only: %v", err)
	}
	for _, p := range packages {
		p.Names = slices.DeleteFunc(p.Names, func(name string) bool { return !wanted.MatchString(name) })
		if len(p.Names) > 0 {
			some = append(some, p)
		}
	}
	return some
}

// report makes a test's result in the guest that of a test of its own.
func report(t *testing.T, r vm.Result) {
	t.Helper()
	pkg := strings.TrimPrefix(r.Package, module+"/")
	if r.Test == "" {
		if r.Action == "fail" {
			t.Errorf("%s failed in the guest:\n%s", pkg, r.Output)
		}
		return
	}
	t.Run(pkg+"."+r.Test, func(t *testing.T) {
		t.Logf("%.1f s in the guest", r.Seconds)
		if r.Action != "pass" {
			t.Errorf("%s in the guest:\n%s", r.Action, r.Output)
		}
	})
}

// findKernel skips the test where what it needs is not there, on a person's
// machine.
func findKernel(t *testing.T) *vm.Kernel {
	t.Helper()
	kernel, err := vm.FindKernel(kernelDir)
	for _, tool := range []string{"qemu-system-x86_64", "busybox", "cpio", "depmod"} {
		_, missing := exec.LookPath(tool)
		err = errors.Join(err, missing)
	}
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skipf("%v; make deps brings it", err)
	}
	return kernel
}
