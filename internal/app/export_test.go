package app

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// Described gives the descriptions of every metric, also of those without a value so far.
func (a *App) Described() (out []string) {
	ch := make(chan *prometheus.Desc)
	go func() { a.metrics.Registry.Describe(ch); close(ch) }()
	for d := range ch {
		out = append(out, d.String())
	}
	return out
}

// SettleAfter has f happen before the server waits for what takes its time to load.
func (a *App) SettleAfter(f func()) {
	own := a.settle
	a.settle = func(ctx context.Context) error {
		f()
		return own(ctx)
	}
}
