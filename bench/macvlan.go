package main

// The parent of the macvlan contenders, on each one's host.
const macvlanParent = "; ip link add eth0 type veth peer name wire; ip link set wire up; ip addr add 10.9.0.1/16 dev eth0; ip link set eth0 up"

// macvlanConf is the same network for both, but for the type of the IPAM.
func macvlanConf(ipam string) []map[string]any {
	return []map[string]any{{
		"type": "macvlan", "master": "eth0", "noports": true,
		"ipam": map[string]any{
			"type":   ipam,
			"ranges": [][]map[string]any{{{"subnet": "10.9.0.0/16", "rangeStart": "10.9.1.0", "gateway": "10.9.0.254"}}},
			"routes": []map[string]any{{"dst": "0.0.0.0/0"}},
		},
	}}
}

// macvlan measures the driver beside upstream's macvlan and host-local.
func (r *report) macvlan(dirs directories) error {
	return r.compare(dirs, map[string]string{"macvlan": "macvlan", "upstream-macvlan": "upstream-macvlan"}, order{Rounds: perTurn}, turns)
}
