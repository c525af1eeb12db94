package cniwire_test

import (
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/berth-net/berth/plugins"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestArgs(t *testing.T) {
	t.Parallel()
	mac1, mac2 := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	for name, c := range map[string]struct {
		env, conf string
		want      plugins.Args
	}{
		"none": {"", "", plugins.Args{}},
		"podman": {"IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=f00;IP=10.1.2.3;MAC=02:00:00:00:00:01", "",
			plugins.Args{IPs: prefixes("10.1.2.3/32"), MAC: mac1, Pod: plugins.Pod{Namespace: "web", Name: "web", InfraContainerID: "f00"}, Raw: map[string]string{
				"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "web", "K8S_POD_NAME": "web", "K8S_POD_INFRA_CONTAINER_ID": "f00", "IP": "10.1.2.3", "MAC": "02:00:00:00:00:01"}}},
		"nerdctl": {"IgnoreUnknown=true;NERDCTL_CNI_DHCP_HOSTNAME=a=b", "",
			plugins.Args{Raw: map[string]string{"IgnoreUnknown": "true", "NERDCTL_CNI_DHCP_HOSTNAME": "a=b"}}},
		"kubelet": {"K8S_POD_UID=;K8S_POD_NAME=p-1.x", "",
			plugins.Args{Pod: plugins.Pod{Name: "p-1.x"}, Raw: map[string]string{"K8S_POD_UID": "", "K8S_POD_NAME": "p-1.x"}}},
		"several": {"IP=10.1.2.3/24,fd00::3/64", "",
			plugins.Args{IPs: prefixes("10.1.2.3/24", "fd00::3/64"), Raw: map[string]string{"IP": "10.1.2.3/24,fd00::3/64"}}},
		"mapped": {"IP=::ffff:10.1.2.3", "", plugins.Args{IPs: prefixes("10.1.2.3/32"), Raw: map[string]string{"IP": "::ffff:10.1.2.3"}}},
		"configuration": {"MAC=02:00:00:00:00:01", `, "args": {"labels": [], "cni": {"ips": ["10.1.2.4/24"], "mac": "02:00:00:00:00:02", "other": 1}}`,
			plugins.Args{IPs: prefixes("10.1.2.4/24"), MAC: mac2, Raw: map[string]string{"MAC": "02:00:00:00:00:01"}}},
	} {
		f := &fake{result: one()}
		run(f, env("ADD", "CNI_ARGS="+c.env), conf("1.0.0", c.conf)).success(t)
		if !reflect.DeepEqual(f.req.Args, c.want) {
			t.Errorf("%s: %+v\nwant %+v", name, f.req.Args, c.want)
		}
	}
}

func TestRuntimeConfig(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]plugins.Runtime{
		`null`: {},
		`{}`:   {},
		`{"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}]}`: {
			PortMappings: []plugins.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}},
		`{"portMappings": [{"hostPort": 1, "containerPort": 2, "protocol": "udp", "hostIP": "192.0.2.1", "count": 3}, {"hostPort": 5, "containerPort": 5, "hostIP": "::"}]}`: {
			PortMappings: []plugins.PortMapping{
				{HostPort: 1, ContainerPort: 2, Count: 3, Protocol: "udp", HostIP: netip.MustParseAddr("192.0.2.1")},
				{HostPort: 5, ContainerPort: 5, Protocol: "tcp", HostIP: netip.IPv6Unspecified()}}},
		`{"ips": ["10.0.0.5/24", "fd00::5"], "mac": "02:00:00:00:00:01"}`: {
			IPs: prefixes("10.0.0.5/24", "fd00::5/128"), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}},
		`{"bandwidth": {"ingressRate": 1, "ingressBurst": 2, "egressRate": 3, "egressBurst": 4}}`: {
			Bandwidth: &plugins.Bandwidth{IngressRate: 1, IngressBurst: 2, EgressRate: 3, EgressBurst: 4}},
		`{"dns": {"servers": ["10.0.0.10"], "searches": ["a.example"], "options": ["ndots:2"]}}`: {
			DNS: &plugins.DNS{Nameservers: []string{"10.0.0.10"}, Search: []string{"a.example"}, Options: []string{"ndots:2"}}},
		`{"aliases": ["db", "db_1"]}`:                      {Aliases: []string{"db", "db_1"}},
		`{"aliases": {"net1": ["db"], "net2": ["other"]}}`: {Aliases: []string{"db"}},
		`{"cgroupPath": "/x", "ipRanges": [[]]}`:           {},
	} {
		f := &fake{result: one()}
		run(f, env("ADD"), conf("1.0.0", `, "runtimeConfig": `+value)).success(t)
		if !reflect.DeepEqual(f.req.Runtime, want) {
			t.Errorf("%s: %+v\nwant %+v", value, f.req.Runtime, want)
		}
	}
}

func TestTheRuntimesMACWins(t *testing.T) {
	t.Parallel()
	f := &fake{result: one()}
	run(f, env("ADD", "CNI_ARGS=MAC=02:00:00:00:00:01"), conf("1.0.0", `, "runtimeConfig": {"mac": "02:00:00:00:00:03"}, "args": {"cni": {"mac": "02:00:00:00:00:02"}}`)).success(t)
	if got := f.req.MAC().String(); got != "02:00:00:00:00:03" {
		t.Errorf("MAC %s", got)
	}
}
