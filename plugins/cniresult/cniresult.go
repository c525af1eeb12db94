// Package cniresult converts results between the drivers' types and the JSON
// of every CNI specification version.
package cniresult

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types020 "github.com/containernetworking/cni/pkg/types/020"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/berth-net/berth/plugins"
)

// Decode reads the result of a plugin of any version. An empty one, as a
// plugin that changes nothing may print, is an empty result.
func Decode(raw []byte) (*plugins.Result, error) {
	r, err := create.CreateFromBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("decode result: %w", err)
	}
	return FromCNI(r)
}

// Encode writes a result as the given specification version has it. What an
// older version has no words for is left out.
func Encode(r *plugins.Result, version string) ([]byte, error) {
	for i, ip := range r.IPs {
		if !ip.Address.IsValid() || ip.Interface >= len(r.Interfaces) {
			return nil, fmt.Errorf("encode result: ips[%d]: address %s of interface %d is not valid", i, ip.Address, ip.Interface)
		}
	}
	encode := encodeOld
	if version == "1.0.0" || version == "1.1.0" {
		encode = encodeNew
	}
	raw, err := encode(r, version)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return raw, nil
}

// encodeOld is Encode by the CNI project's library, which can say any result
// in any version.
func encodeOld(r *plugins.Result, version string) ([]byte, error) {
	converted, err := asVersion(r, version)
	if err != nil {
		return nil, fmt.Errorf("convert to version %s: %w", version, err)
	}
	return json.Marshal(converted)
}

func asVersion(r *plugins.Result, version string) (types.Result, error) {
	// The library refuses to convert a result without addresses to 0.2.0 and
	// before, although "ip4" and "ip6" are both optional there.
	if len(r.IPs) == 0 && (version == "0.1.0" || version == "0.2.0") {
		return &types020.Result{CNIVersion: version, DNS: types.DNS(r.DNS)}, nil
	}
	to := ToCNI(r)
	if version != current.ImplementedSpecVersion {
		withoutNews(to)
	}
	return to.GetAsVersion(version)
}

// withoutNews removes what came with 1.1.0. The library writes it in every
// version.
func withoutNews(r *current.Result) {
	for _, i := range r.Interfaces {
		i.Mtu, i.SocketPath, i.PciID = 0, "", ""
	}
	for i, route := range r.Routes {
		r.Routes[i] = &types.Route{Dst: route.Dst, GW: route.GW}
	}
}

// FromCNI converts from the CNI project's type of any version.
func FromCNI(from types.Result) (*plugins.Result, error) {
	r, err := current.NewResultFromResult(from)
	if err != nil {
		return nil, fmt.Errorf("convert result: %w", err)
	}
	to := &plugins.Result{DNS: plugins.DNS(r.DNS)}
	for _, i := range r.Interfaces {
		dev, err := interfaceFromCNI(i)
		if err != nil {
			return nil, err
		}
		to.Interfaces = append(to.Interfaces, dev)
	}
	for i, ip := range r.IPs {
		addr, err := ipFromCNI(ip, len(r.Interfaces))
		if err != nil {
			return nil, fmt.Errorf("result's ips[%d]: %w", i, err)
		}
		to.IPs = append(to.IPs, addr)
	}
	for i, route := range r.Routes {
		converted, err := routeFromCNI(route)
		if err != nil {
			return nil, fmt.Errorf("result's routes[%d]: %w", i, err)
		}
		to.Routes = append(to.Routes, converted)
	}
	return to, nil
}

// ToCNI converts to the CNI project's newest type.
func ToCNI(from *plugins.Result) *current.Result {
	to := &current.Result{CNIVersion: current.ImplementedSpecVersion, DNS: types.DNS(from.DNS)}
	for _, i := range from.Interfaces {
		to.Interfaces = append(to.Interfaces, &current.Interface{
			Name: i.Name, Mac: i.MAC.String(), Mtu: i.MTU, Sandbox: i.Sandbox, SocketPath: i.SocketPath, PciID: i.PCIID,
		})
	}
	for _, ip := range from.IPs {
		c := &current.IPConfig{Address: ipNet(ip.Address), Gateway: ip.Gateway.AsSlice()}
		if ip.Interface >= 0 {
			c.Interface = current.Int(ip.Interface)
		}
		to.IPs = append(to.IPs, c)
	}
	for _, r := range from.Routes {
		to.Routes = append(to.Routes, &types.Route{
			Dst: ipNet(r.Dst), GW: r.Gateway.AsSlice(), MTU: r.MTU, AdvMSS: r.AdvMSS,
			Priority: r.Priority, Table: r.Table, Scope: r.Scope,
		})
	}
	return to
}

func interfaceFromCNI(i *current.Interface) (plugins.Interface, error) {
	if i == nil {
		return plugins.Interface{}, fmt.Errorf("result's interfaces: an entry is null")
	}
	dev := plugins.Interface{Name: i.Name, MTU: i.Mtu, Sandbox: i.Sandbox, SocketPath: i.SocketPath, PCIID: i.PciID}
	if i.Mac == "" {
		return dev, nil
	}
	mac, err := net.ParseMAC(i.Mac)
	if err != nil {
		return dev, fmt.Errorf("result's interface %q: %w", i.Name, err)
	}
	dev.MAC = mac
	return dev, nil
}

func ipFromCNI(ip *current.IPConfig, interfaces int) (plugins.IP, error) {
	if ip == nil {
		return plugins.IP{}, fmt.Errorf("entry is null")
	}
	addr, err := prefix(&ip.Address)
	if err != nil {
		return plugins.IP{}, err
	}
	to := plugins.IP{Interface: -1, Address: addr, Gateway: address(ip.Gateway)}
	if ip.Interface != nil {
		if to.Interface = *ip.Interface; to.Interface < 0 || to.Interface >= interfaces {
			return to, fmt.Errorf("interface %d is not one of the result's %d", to.Interface, interfaces)
		}
	}
	return to, nil
}

func routeFromCNI(r *types.Route) (plugins.Route, error) {
	if r == nil {
		return plugins.Route{}, fmt.Errorf("entry is null")
	}
	dst, err := prefix(&r.Dst)
	return plugins.Route{
		Dst: dst, Gateway: address(r.GW), MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority, Table: r.Table, Scope: r.Scope,
	}, err
}

// address is the zero Addr for none.
func address(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

func prefix(n *net.IPNet) (netip.Prefix, error) {
	addr := address(n.IP)
	ones, _ := n.Mask.Size()
	p := netip.PrefixFrom(addr, ones)
	if !p.IsValid() {
		return p, fmt.Errorf("address %q is not valid", n.String())
	}
	return p, nil
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
