package app

import "github.com/prometheus/client_golang/prometheus"

// Described gives the descriptions of every metric, also of those without a value so far.
func (a *App) Described() (out []string) {
	ch := make(chan *prometheus.Desc)
	go func() { a.metrics.Registry.Describe(ch); close(ch) }()
	for d := range ch {
		out = append(out, d.String())
	}
	return out
}
