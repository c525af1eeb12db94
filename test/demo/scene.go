package main

// The scene: two hosts, one and two, on one Ethernet segment, 192.0.2.0/24.
// Every container serves HTTP at port 80.

// networks are the commands that make the networks. The networks host and
// none exist without being created.
var networks = []struct{ kind, host, args string }{
	{"bridge", "one", "-d bridge --subnet 10.10.0.0/24 --subnet fd10:10::/64 front"},
	{"bridge", "one", "-d bridge --subnet 10.20.0.0/24 back"},
	{"overlay", "one", "-d overlay -o vni=42 -o peers=192.0.2.2 --subnet 10.42.0.0/24 --ip-range 10.42.0.16/28 mesh"},
	{"overlay", "two", "-d overlay -o vni=42 -o peers=192.0.2.1 --subnet 10.42.0.0/24 --ip-range 10.42.0.32/28 mesh"},
	{"macvlan", "one", "-d macvlan -o parent=eth0 --subnet 192.0.2.0/24 --gateway 192.0.2.254 --ip-range 192.0.2.16/28 lan"},
	{"macvlan", "two", "-d macvlan -o parent=eth0 --subnet 192.0.2.0/24 --gateway 192.0.2.254 --ip-range 192.0.2.32/28 lan"},
}

// hosts and their address on the segment.
var hosts = []struct{ name, address string }{{"one", "192.0.2.1"}, {"two", "192.0.2.2"}}

// party asks, and except for a host's own processes is asked.
type party struct {
	name, host string
	kind       string // of the network
	network    string
	publish    string // HOST:CTR
	expect     string // whom it reaches, a letter for each column
}

// published is the last column: the port of host one that leads to front1.
const published = "http://192.0.2.1:8080/"

// parties are the rows, and those with a network are the columns, in order,
// before published. A plus is reached, a dot is not.
//
// Networks of one host are isolated from each other, but not from what they
// publish. A macvlan device and its parent do not hear each other (the
// kernel's macvlan driver hands frames to its devices and to the wire), so a
// container of the segment reaches every host but its own, and none reaches a
// container of the segment through its own host.
var parties = []party{
	//                                                 fr fr ba me me la la ho ho no pu
	{"front1", "one", "bridge", "front", "8080:80", "+  +  .  .  .  .  +  +  +  .  +"},
	{"front2", "one", "bridge", "front", "", "+  +  .  .  .  .  +  +  +  .  +"},
	{"back1", "one", "bridge", "back", "", ".  .  +  .  .  .  +  +  +  .  +"},
	{"mesh1", "one", "overlay", "mesh", "", ".  .  .  +  +  .  +  +  +  .  +"},
	{"mesh2", "two", "overlay", "mesh", "", ".  .  .  +  +  +  .  +  +  .  +"},
	{"lan1", "one", "macvlan", "lan", "", ".  .  .  .  .  +  +  .  +  .  ."},
	{"lan2", "two", "macvlan", "lan", "", ".  .  .  .  .  +  +  +  .  .  +"},
	{"host1", "one", "host", "host", "", "+  +  +  +  .  .  +  +  +  .  +"},
	{"host2", "two", "host", "host", "", ".  .  .  .  +  +  .  +  +  .  +"},
	{"none1", "one", "none", "none", "", ".  .  .  .  .  .  .  .  .  +  ."},
	{"(one)", "one", "", "", "", "+  +  +  +  .  .  +  +  +  .  +"},
	{"(two)", "two", "", "", "", ".  .  .  .  +  +  .  +  +  .  +"},
}
