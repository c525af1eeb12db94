package cniwire

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/berth-net/berth/plugins"
)

// decodeArgs reads CNI_ARGS, "KEY=VALUE;KEY=VALUE", and the configuration's
// "args.cni", which wins where both have the same.
func decodeArgs(env string, conf json.RawMessage) (plugins.Args, error) {
	args, err := decodeEnvArgs(env)
	if err != nil {
		return plugins.Args{}, err
	}
	var free struct {
		CNI struct {
			IPs []string `json:"ips"`
			MAC string   `json:"mac"`
		} `json:"cni"`
	}
	if isNull(conf) {
		return args, nil
	}
	if err := unmarshal("args", conf, &free); err != nil {
		return plugins.Args{}, err
	}
	for i, s := range free.CNI.IPs {
		ip, err := parseIP(s)
		if err != nil {
			return plugins.Args{}, configError("args.cni.ips[%d]: %w", i, err)
		}
		args.IPs = append(args.IPs, ip)
	}
	if free.CNI.MAC != "" {
		if args.MAC, err = parseMAC(free.CNI.MAC); err != nil {
			return plugins.Args{}, configError("args.cni.mac: %w", err)
		}
	}
	return args, nil
}

func decodeEnvArgs(env string) (args plugins.Args, err error) {
	if env == "" {
		return args, nil
	}
	args.Raw = make(map[string]string)
	ignoreUnknown, unknown := false, ""
	for pair := range strings.SplitSeq(env, ";") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return plugins.Args{}, envError("CNI_ARGS: %q is not KEY=VALUE; pairs are separated by semicolons", pair)
		}
		args.Raw[key] = value
		switch key {
		case "IgnoreUnknown":
			ignoreUnknown, err = parseBool(value)
		case "IP":
			args.IPs, err = parseIPs(value)
		case "MAC":
			args.MAC, err = parseMAC(value)
		default:
			if field := podField(&args.Pod, key); field != nil {
				*field, err = value, podProblem(value)
			} else {
				unknown = key
			}
		}
		if err != nil {
			return plugins.Args{}, envError("CNI_ARGS: %s: %w", key, err)
		}
	}
	if unknown != "" && !ignoreUnknown {
		return plugins.Args{}, envError("CNI_ARGS: %s is unknown here; add IgnoreUnknown=1 where it is meant for another plugin", unknown)
	}
	return args, nil
}

func podField(p *plugins.Pod, key string) *string {
	switch key {
	case "K8S_POD_NAMESPACE":
		return &p.Namespace
	case "K8S_POD_NAME":
		return &p.Name
	case "K8S_POD_UID":
		return &p.UID
	case "K8S_POD_INFRA_CONTAINER_ID":
		return &p.InfraContainerID
	}
	return nil
}

// podProblem allows the empty value: kubelet's has no UID for some.
func podProblem(value string) error {
	if why := nameProblem(value); value != "" && why != "" {
		return fmt.Errorf("%q %s", value, why)
	}
	return nil
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is none of 1, true, 0, false", s)
}

func parseIPs(list string) (ips []netip.Prefix, err error) {
	for s := range strings.SplitSeq(list, ",") {
		ip, err := parseIP(s)
		if err != nil {
			return nil, err
		}
		ips = append(ips, ip)
	}
	return ips, nil
}

// parseIP reads an address with or without a prefix length; without, it is
// the whole address's.
func parseIP(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Addr().Is4In6() || !assignable(p.Addr()) {
			return netip.Prefix{}, fmt.Errorf("%q is not an address with a prefix length", s)
		}
		return p, nil
	}
	addr, err := parseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if !assignable(addr) {
		return netip.Prefix{}, fmt.Errorf("%q is not an address that an interface can have", s)
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

func parseAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	}
	return addr.Unmap(), nil
}

func assignable(addr netip.Addr) bool { return !addr.IsUnspecified() && !addr.IsMulticast() }

func parseMAC(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	switch {
	case err != nil || len(mac) != 6:
		return nil, fmt.Errorf("%q is not a MAC address of six bytes", s)
	case mac[0]&1 != 0:
		return nil, fmt.Errorf("%q is a group address, which no interface can have", s)
	case [6]byte(mac) == [6]byte{}:
		return nil, fmt.Errorf("%q is zero, which no interface can have", s)
	}
	return mac, nil
}
