package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Stat is one number that another room has, as it is now. Name begins with
// aibuild_ and, for a Counter, ends in _total. Values of labels come from a
// small fixed set, never from outside.
type Stat struct {
	Name    string
	Help    string
	Labels  map[string]string
	Value   float64
	Counter bool // only grows; else it is a gauge
}

// metrics counts what the server does.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refused  *prometheus.CounterVec
}

func newMetrics(c Config, l *leases) (*metrics, error) {
	m := &metrics{
		registry: c.Registry,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aibuild_http_requests_total", Help: "Requests by route, method and class of status."}, []string{"route", "method", "status"}),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "aibuild_http_request_seconds", Help: "Time until a request was answered.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30}}, []string{"route"}),
		refused:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aibuild_http_refused_total", Help: "Requests that were refused for their token, by reason: none, an unknown one, its role, or how often it asks."}, []string{"reason"}),
	}
	if m.registry == nil {
		m.registry = prometheus.NewRegistry()
	}
	version := c.Version
	if version == "" {
		version = "unknown"
	}
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "aibuild_build_info", Help: "1, with the version that runs.", ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return 1 })
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "aibuild_locks_held", Help: "Locks that the server holds for clients."}, func() float64 { return float64(l.count()) })
	all := []prometheus.Collector{m.requests, m.seconds, m.refused, info, held}
	if c.Registry == nil {
		all = append(all, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	if c.Stats != nil {
		all = append(all, stats(c.Stats))
	}
	for _, one := range all {
		if err := m.registry.Register(one); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	for _, reason := range []string{"no_token", "bad_token", "role", "rate"} {
		m.refused.WithLabelValues(reason)
	}
	return m, nil
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, DisableCompression: true})
}

// observe counts one request. The route is the pattern, not the address; a
// method is one of few, whatever was sent.
func (m *metrics) observe(route, method string, status int, took time.Duration) {
	if route == "" {
		route, method = "none", "any"
	}
	if _, path, ok := strings.Cut(route, " "); ok {
		route = path
	}
	if status == 0 {
		status = http.StatusOK
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status/100)+"xx").Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

func (m *metrics) denied(reason string) { m.refused.WithLabelValues(reason).Inc() }

// stats makes the numbers of other rooms metrics. They are asked for when
// somebody scrapes, so nobody has to keep them up to date.
type stats func() []Stat

// Describe says nothing: what there is, is known at each scrape.
func (stats) Describe(chan<- *prometheus.Desc) {}

// Collect is called by the registry.
func (f stats) Collect(out chan<- prometheus.Metric) {
	for _, s := range f() {
		kind := prometheus.GaugeValue
		if s.Counter {
			kind = prometheus.CounterValue
		}
		var names, values []string
		for name, value := range s.Labels {
			names, values = append(names, name), append(values, value)
		}
		metric, err := prometheus.NewConstMetric(prometheus.NewDesc(s.Name, s.Help, names, nil), kind, s.Value, values...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
		out <- metric
	}
}
