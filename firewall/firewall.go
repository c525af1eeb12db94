// Package firewall keeps the packet filter of the host's container networks:
// masquerade, published ports, isolation.
//
// It owns one nftables table, "inet berth", and never touches another. The
// rules are fixed; containers are elements of sets and maps.
package firewall
