package app

import "context"

// nouns are the services of the domain, built by wire.
type nouns struct {
	start   func(context.Context) error // what must be up before the server says ready
	closers []func() error
}

// wire builds the nouns from the cellar up and hands each what it needs.
func (a *App) wire(ctx context.Context) error {
	return nil
}
