package ipam_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/ipam"
	"github.com/berth-net/berth/state"
)

// The test binary is also the processes that lease at once.
const (
	processVariable = "BERTH_TEST_PROCESS"
	dirVariable     = "BERTH_TEST_DIR"
)

const crowd = `{"type":"berth-ipam","ranges":[[{"subnet":"10.0.0.0/8"}],[{"subnet":"fd00::/64"}]]}`

func TestMain(m *testing.M) {
	if name := os.Getenv(processVariable); name != "" {
		leaseUntilTold(name)
		return
	}
	os.Exit(m.Run())
}

// leaseUntilTold leases, and releases every third again, until its standard
// input ends, and prints what it keeps.
func leaseUntilTold(name string) {
	store := state.ForBoot(os.Getenv(dirVariable), "boot")
	config, err := ipam.Parse([]byte(crowd))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	told := make(chan struct{})
	go func() { bufio.NewReader(os.Stdin).ReadByte(); close(told) }()
	for i := 0; ; i++ {
		select {
		case <-told:
			return
		default:
		}
		k := key(fmt.Sprint(name, "-", i))
		var got []ipam.Address
		err := store.Update(func(tx *state.Tx) (err error) {
			got, err = ipam.Lease(tx, config, ipam.Request{Key: k})
			return err
		})
		if err == nil && i%3 == 2 {
			err = store.Update(func(tx *state.Tx) error { return ipam.Release(tx, k) })
		} else if err == nil {
			fmt.Println(k.ContainerID, text(got))
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

func TestManyProcessesNeverGetOneAddressTwice(t *testing.T) {
	t.Parallel()
	const processes = 32
	dir := t.TempDir()
	outputs := make([]bytes.Buffer, processes)
	told := make(chan struct{})
	var wg sync.WaitGroup
	for i := range processes {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), processVariable+"="+fmt.Sprint("p", i), dirVariable+"="+dir)
		cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			<-told
			stdin.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	time.AfterFunc(3*time.Second, func() { close(told) }) // for as long they compete
	wg.Wait()
	fewest, total := checkUnique(t, dir, outputs)
	t.Logf("%d leases by %d processes; the one with the fewest has %d", total, processes, fewest)
	if fewest*20 < total/processes {
		t.Errorf("a process starved: it got %d of %d leases", fewest, total)
	}
}

// checkUnique looks at every address that was given and at the state.
func checkUnique(t *testing.T, dir string, outputs []bytes.Buffer) (fewest, total int) {
	t.Helper()
	holders := map[string]string{}
	fewest = 1 << 30
	for i := range outputs {
		n := 0
		for line := range strings.Lines(outputs[i].String()) {
			container, addresses, ok := strings.Cut(strings.TrimSpace(line), " ")
			if !ok || !strings.HasPrefix(container, "p") {
				t.Fatalf("process %d: %s", i, line)
			}
			n++
			for a := range strings.FieldsSeq(addresses) {
				if other := holders[a]; other != "" {
					t.Errorf("%s was given to %s and to %s", a, other, container)
				}
				holders[a] = container
			}
		}
		fewest, total = min(fewest, n), total+n
	}
	err := state.ForBoot(dir, "boot").View(func(tx *state.Tx) error {
		held, err := ipam.Holdings(tx, "net")
		if len(held) < total {
			t.Errorf("%d leases were given, %d are recorded", total, len(held))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return fewest, total
}
