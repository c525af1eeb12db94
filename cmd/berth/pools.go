package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/berth-net/berth/ipam"
)

// poolsVariable is the environment variable that names the pools of subnets
// for networks that are created without one: BASE:BITS, separated by commas.
const poolsVariable = "BERTH_POOLS"

func pools() ([]ipam.Pool, error) {
	value := os.Getenv(poolsVariable)
	if value == "" {
		return nil, nil
	}
	var list []ipam.Pool
	for s := range strings.SplitSeq(value, ",") {
		p, err := ipam.ParsePool(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", poolsVariable, err)
		}
		list = append(list, p)
	}
	return list, nil
}
