package agent

import (
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the agent's own; nothing is registered globally.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.HistogramVec
	repaired  prometheus.Counter
	problems  prometheus.Counter
	changes   prometheus.Counter
	endpoints prometheus.Gauge
	evicted   prometheus.Gauge
	peers     prometheus.Gauge
	silent    prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "berth_agent_request_seconds", Help: "Time to answer a request on the agent's socket.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}, []string{"verb"}),
		repaired:  prometheus.NewCounter(prometheus.CounterOpts{Name: "berth_agent_repaired_entries_total", Help: "Forwarding and neighbour entries that differed from the cluster's."}),
		problems:  prometheus.NewCounter(prometheus.CounterOpts{Name: "berth_agent_problems_total", Help: "Things that went wrong."}),
		changes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "berth_agent_changes_total", Help: "Changes of the cluster that were applied."}),
		endpoints: prometheus.NewGauge(prometheus.GaugeOpts{Name: "berth_agent_endpoints", Help: "Overlay endpoints of this host."}),
		evicted:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "berth_agent_evicted_endpoints", Help: "Endpoints of this host that are off their network, because another host has got their address."}),
		peers:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "berth_agent_peers", Help: "Other living hosts of the cluster."}),
		silent:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "berth_agent_silent_peers", Help: "Hosts with a network in common that do not answer through VXLAN."}),
	}
	m.registry.MustRegister(m.silent, m.requests, m.repaired, m.problems, m.changes, m.endpoints, m.evicted, m.peers)
	return m
}

// serve answers until l is closed.
func (m *metrics) serve(l net.Listener) {
	server := &http.Server{
		Handler:           promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	_ = server.Serve(l)
}
