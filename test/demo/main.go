// Command demo shows the suite at work: on two hosts made of namespaces it
// creates a network of each kind, runs containers on them, and measures by
// HTTP who reaches whom. It fails where that is not what is expected.
//
//	demo -berth bin/berth -image bin/image
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	berth := flag.String("berth", "bin/berth", "the `binary` to show")
	keep := flag.String("image", "", "leave the image in this `directory` as an OCI layout")
	only := flag.String("only", "", "run only the containers of this `driver` and the hosts")
	flag.Parse()
	if err := demo(*berth, *keep, *only); err != nil {
		if !errors.Is(err, errFailed) {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
		os.Exit(1)
	}
}

func demo(berth, keep, only string) error {
	berth, err := filepath.Abs(berth)
	if err != nil {
		return err
	}
	if _, err := os.Stat(berth); err != nil {
		return fmt.Errorf("%w: run make build first", err)
	}
	begin := time.Now()
	return withRun(func(r *run) {
		s := newStage(r, berth, keep, only)
		s.createNetworks()
		s.startContainers()
		s.measure()
		s.print(os.Stdout)
		wrong := s.wrong()
		for _, line := range wrong {
			r.Errorf("%s", line)
		}
		if len(wrong) == 0 {
			fmt.Printf("\nAll %d connections are as expected, in %.1f s.\n", s.cells(), time.Since(begin).Seconds())
		}
	})
}
