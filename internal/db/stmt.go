package db

import (
	"context"
	"database/sql"
	"sync"
)

// stmts keeps the statements that SQLite's writer executes again and again prepared: parsing one costs about as much as
// running it. Only Exec goes through it: a query's statement could be open when the same text is asked again inside.
// pgx does the same by itself.
type stmts struct {
	mu       sync.Mutex
	prepared map[string]*sql.Stmt
	seen     map[string]int // how often a text that is not prepared was executed
	wanted   []string
}

const (
	stmtsKept = 256
	stmtsSeen = 2000
	stmtAfter = 3 // times a text is seen before it is prepared
)

// get gives the prepared statement of q, nil when there is none (yet).
func (c *stmts) get(q string) *sql.Stmt {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.prepared[q]; s != nil {
		return s
	}
	if len(c.prepared) >= stmtsKept {
		return nil
	}
	if c.seen == nil || len(c.seen) > stmtsSeen { // texts made per request must not fill the memory
		c.seen = map[string]int{}
	}
	if c.seen[q]++; c.seen[q] == stmtAfter {
		c.wanted = append(c.wanted, q)
	}
	return nil
}

// prepare makes what was wanted. It must be called outside a transaction: it waits for the one connection.
func (c *stmts) prepare(ctx context.Context, w *sql.DB) {
	c.mu.Lock()
	wanted := c.wanted
	c.wanted = nil
	c.mu.Unlock()
	for _, q := range wanted {
		s, err := w.PrepareContext(ctx, q)
		c.mu.Lock()
		switch {
		case err != nil: // asked for again when it is seen again
			delete(c.seen, q)
		case c.prepared[q] != nil:
			s.Close()
		default:
			if c.prepared == nil {
				c.prepared = map[string]*sql.Stmt{}
			}
			c.prepared[q] = s
			delete(c.seen, q)
		}
		c.mu.Unlock()
	}
}

func (c *stmts) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.prepared {
		s.Close()
	}
	c.prepared = nil
}
