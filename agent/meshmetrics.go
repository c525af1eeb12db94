package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-net/berth/agent/api"
)

// meshMetrics reads the mesh when Prometheus asks.
type meshMetrics struct{ state func() *api.Mesh }

var (
	meshPeers     = prometheus.NewDesc("berth_agent_mesh_peers", "Hosts that share an encrypted network with this one.", nil, nil)
	meshHandshake = prometheus.NewDesc("berth_agent_mesh_handshake_age_seconds", "Time since a host's last handshake.", []string{"host"}, nil)
	meshReceived  = prometheus.NewDesc("berth_agent_mesh_received_bytes_total", "Encrypted bytes that a host sent here.", []string{"host"}, nil)
	meshSent      = prometheus.NewDesc("berth_agent_mesh_sent_bytes_total", "Encrypted bytes that were sent to a host.", []string{"host"}, nil)
)

func (m *meshMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{meshPeers, meshHandshake, meshReceived, meshSent} {
		to <- d
	}
}

func (m *meshMetrics) Collect(to chan<- prometheus.Metric) {
	s := m.state()
	if s == nil {
		to <- prometheus.MustNewConstMetric(meshPeers, prometheus.GaugeValue, 0)
		return
	}
	to <- prometheus.MustNewConstMetric(meshPeers, prometheus.GaugeValue, float64(len(s.Peers)))
	for _, p := range s.Peers {
		to <- prometheus.MustNewConstMetric(meshReceived, prometheus.CounterValue, float64(p.Received), p.Host)
		to <- prometheus.MustNewConstMetric(meshSent, prometheus.CounterValue, float64(p.Sent), p.Host)
		if !p.Handshake.IsZero() {
			to <- prometheus.MustNewConstMetric(meshHandshake, prometheus.GaugeValue, time.Since(p.Handshake).Seconds(), p.Host)
		}
	}
}
