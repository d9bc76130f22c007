package trace

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/tracking"
)

const columns = `t.id, t.experiment, t.name, t.state, t.client_request, t.started_ms, t.duration_ms, t.request, t.response, t.session, t.person, t.final, t.spans,
	t.input_tokens, t.output_tokens, t.total_tokens, t.cache_read_tokens, t.cache_creation_tokens, t.input_cost, t.output_cost, t.total_cost, t.metadata`

func scanTrace(scan func(...any) error) (t Trace, err error) {
	var k Tokens
	var c Cost
	var meta string
	if err = scan(&t.ID, &t.Experiment, &t.Name, &t.State, &t.ClientRequest, &t.Started, &t.Duration, &t.Request, &t.Response, &t.Session, &t.User, &t.Final, &t.Spans,
		&k.Input, &k.Output, &k.Total, &k.CacheRead, &k.CacheCreation, &c.Input, &c.Output, &c.Total, &meta); err != nil {
		return t, err
	}
	if k.Total >= 0 {
		t.Tokens = &k
	}
	if c.Total >= 0 {
		t.Cost = &c
	}
	t.Tags, t.Metadata = map[string]string{}, map[string]string{}
	return t, db.FromJSON(meta, &t.Metadata)
}

// values are the columns of t after workspace, id and experiment, in the order of the table.
func (t *Trace) values() []any {
	k := Tokens{unknownTokens, unknownTokens, unknownTokens, unknownTokens, unknownTokens}
	if t.Tokens != nil {
		k = *t.Tokens
	}
	c := Cost{unknownCost, unknownCost, unknownCost}
	if t.Cost != nil {
		c = *t.Cost
	}
	meta := t.Metadata
	if meta == nil {
		meta = map[string]string{}
	}
	return []any{t.Name, t.State, t.ClientRequest, t.Started, t.Duration, t.Request, t.Response, t.Session, t.User, db.Bit(t.Final), t.Spans,
		k.Input, k.Output, k.Total, k.CacheRead, k.CacheCreation, c.Input, c.Output, c.Total, db.ToJSON(meta)}
}

// insertTrace adds the row; fresh is false when there is one already.
func insertTrace(tx db.Scope, t Trace) (fresh bool, err error) {
	res, err := tx.Exec(`INSERT INTO trace (workspace, id, experiment, name, state, client_request, started_ms, duration_ms, request, response, session, person, final, spans,
			input_tokens, output_tokens, total_tokens, cache_read_tokens, cache_creation_tokens, input_cost, output_cost, total_cost, metadata)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
		ON CONFLICT (workspace, id) DO NOTHING`, append([]any{tx.Workspace, t.ID, t.Experiment}, t.values()...)...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

func putTrace(tx db.Scope, t Trace) error {
	_, err := tx.Exec(`UPDATE trace SET name = $3, state = $4, client_request = $5, started_ms = $6, duration_ms = $7, request = $8, response = $9, session = $10, person = $11,
			final = $12, spans = $13, input_tokens = $14, output_tokens = $15, total_tokens = $16, cache_read_tokens = $17, cache_creation_tokens = $18,
			input_cost = $19, output_cost = $20, total_cost = $21, metadata = $22
		WHERE workspace = $1 AND id = $2`, append([]any{tx.Workspace, t.ID}, t.values()...)...)
	return err
}

// lockTrace reads a trace's own row and keeps others from changing it until the transaction ends.
func lockTrace(tx db.Scope, id string) (Trace, error) {
	q := `SELECT ` + columns + ` FROM trace t WHERE t.workspace = $1 AND t.id = $2`
	if tx.Postgres() {
		q += ` FOR UPDATE`
	}
	t, err := scanTrace(tx.QueryRow(q, tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return t, noTrace(id)
	}
	return t, err
}

func exists(tx db.Scope, id string) error {
	var n int
	err := tx.QueryRow(`SELECT 1 FROM trace WHERE workspace = $1 AND id = $2`, tx.Workspace, id).Scan(&n)
	if errors.Is(err, db.ErrNoRows) {
		return noTrace(id)
	}
	return err
}

// getTraces reads traces with all that belongs to them but their spans, in the order of ids; unknown ids are left out.
func getTraces(tx db.Scope, ids []string) ([]Trace, error) {
	at := make(map[string]int, len(ids))
	var out []Trace
	for part := range slices.Chunk(ids, 500) {
		q := newQuery(tx)
		q.Add(`SELECT `, columns, ` FROM trace t WHERE t.workspace = `, q.Arg(tx.Workspace), ` AND t.id IN (`, q.Args(part), `)`)
		found := make(map[string]Trace, len(part))
		if err := tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
			t, err := scanTrace(scan)
			found[t.ID] = t
			return err
		}); err != nil {
			return nil, fmt.Errorf("read traces: %w", err)
		}
		for _, id := range part {
			if t, ok := found[id]; ok {
				if _, again := at[id]; !again {
					at[id] = len(out)
					out = append(out, t)
				}
			}
		}
	}
	return out, fill(tx, out)
}

func getTrace(tx db.Scope, id string) (Trace, error) {
	list, err := getTraces(tx, []string{id})
	if err == nil && len(list) == 0 {
		err = noTrace(id)
	}
	if err != nil {
		return Trace{}, err
	}
	return list[0], nil
}

// fill reads tags, assessments, runs and prompts of the traces in list.
func fill(tx db.Scope, list []Trace) error {
	at := make(map[string]*Trace, len(list))
	ids := make([]string, len(list))
	for i := range list {
		at[list[i].ID], ids[i] = &list[i], list[i].ID
	}
	for part := range slices.Chunk(ids, 500) {
		each := func(text, order string, row func(scan func(...any) error) error) error {
			q := newQuery(tx)
			q.Add(text, ` WHERE workspace = `, q.Arg(tx.Workspace), ` AND trace IN (`, q.Args(part), `)`, order)
			return tx.Each(q.String(), q.Values, row)
		}
		var id, a, b string
		err := each(`SELECT trace, key, value FROM trace_tag`, ``, func(scan func(...any) error) error {
			err := scan(&id, &a, &b)
			if err == nil {
				at[id].Tags[a] = b
			}
			return err
		})
		if err == nil {
			err = each(`SELECT trace, run FROM trace_run`, ` ORDER BY trace, run`, func(scan func(...any) error) error {
				err := scan(&id, &a)
				if err == nil {
					at[id].Runs = append(at[id].Runs, a)
				}
				return err
			})
		}
		if err == nil {
			err = each(`SELECT trace, name, version FROM trace_prompt`, ` ORDER BY trace, name, version`, func(scan func(...any) error) error {
				err := scan(&id, &a, &b)
				if err == nil {
					at[id].Prompts = append(at[id].Prompts, Prompt{a, b})
				}
				return err
			})
		}
		if err == nil {
			err = each(`SELECT trace, `+assessmentColumns+` FROM trace_assessment`, ` ORDER BY trace, created_at, id`, func(scan func(...any) error) error {
				x, err := scanAssessment(func(dest ...any) error { return scan(append([]any{&id}, dest...)...) })
				if err == nil {
					at[id].Assessments = append(at[id].Assessments, x)
				}
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("read what belongs to traces: %w", err)
		}
	}
	return nil
}

// putTags sets tags; without over, those that are there stay.
func putTags(tx db.Scope, id string, tags map[string]string, over bool) error {
	keys := slices.Sorted(maps.Keys(tags))
	for part := range slices.Chunk(keys, 100) {
		q := newQuery(tx)
		q.Add(`INSERT INTO trace_tag (workspace, trace, key, value) VALUES `)
		for i, k := range part {
			if i > 0 {
				q.Add(`, `)
			}
			q.Add(`(`, q.Arg(tx.Workspace), `, `, q.Arg(id), `, `, q.Arg(k), `, `, q.Arg(tags[k]), `)`)
		}
		if over {
			q.Add(` ON CONFLICT (workspace, trace, key) DO UPDATE SET value = excluded.value`)
		} else {
			q.Add(` ON CONFLICT (workspace, trace, key) DO NOTHING`)
		}
		if _, err := tx.Exec(q.String(), q.Values...); err != nil {
			return fmt.Errorf("set tags of a trace: %w", err)
		}
	}
	return nil
}

func dropTag(tx db.Scope, id, key string) (bool, error) {
	res, err := tx.Exec(`DELETE FROM trace_tag WHERE workspace = $1 AND trace = $2 AND key = $3`, tx.Workspace, id, key)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

func linkRun(tx db.Scope, id, run string) error {
	_, err := tx.Exec(`INSERT INTO trace_run (workspace, run, trace) VALUES ($1, $2, $3) ON CONFLICT (workspace, run, trace) DO NOTHING`, tx.Workspace, run, id)
	return err
}

func linkPrompt(tx db.Scope, id string, p Prompt) error {
	_, err := tx.Exec(`INSERT INTO trace_prompt (workspace, name, version, trace) VALUES ($1, $2, $3, $4) ON CONFLICT (workspace, name, version, trace) DO NOTHING`,
		tx.Workspace, p.Name, p.Version, id)
	return err
}

// dropTraces deletes traces of an experiment and all that belongs to them; it gives how many there were.
func dropTraces(tx db.Scope, experiment string, ids []string) (n int64, err error) {
	for _, id := range ids {
		if err := tracking.DropFiles(tx, ArtifactRoot(experiment, id)); err != nil {
			return 0, fmt.Errorf("delete files of a trace: %w", err)
		}
	}
	for part := range slices.Chunk(ids, 500) {
		for _, table := range []string{"trace_tag", "trace_chunk", "trace_span", "trace_run", "trace_prompt", "trace_assessment"} {
			q := newQuery(tx)
			q.Add(`DELETE FROM `, table, ` WHERE workspace = `, q.Arg(tx.Workspace), ` AND trace IN (`, q.Args(part), `)`)
			if _, err := tx.Exec(q.String(), q.Values...); err != nil {
				return n, fmt.Errorf("delete from %s: %w", table, err)
			}
		}
		q := newQuery(tx)
		q.Add(`DELETE FROM trace WHERE workspace = `, q.Arg(tx.Workspace), ` AND id IN (`, q.Args(part), `)`)
		res, err := tx.Exec(q.String(), q.Values...)
		if err != nil {
			return n, fmt.Errorf("delete traces: %w", err)
		}
		gone, err := res.RowsAffected()
		if err != nil {
			return n, err
		}
		n += gone
	}
	return n, nil
}

// doomed finds up to limit traces of an experiment to delete, the oldest first: those of ids, or those begun at or
// before until.
func doomed(tx db.Scope, experiment string, ids []string, until int64, limit int) (out []string, err error) {
	q := newQuery(tx)
	q.Add(`SELECT id FROM trace WHERE workspace = `, q.Arg(tx.Workspace), ` AND experiment = `, q.Arg(experiment))
	if len(ids) > 0 {
		q.Add(` AND id IN (`, q.Args(ids), `)`)
	} else {
		q.Add(` AND started_ms <= `, q.Arg(until))
	}
	q.Add(` ORDER BY started_ms, id LIMIT `, q.Arg(limit))
	err = tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		out = append(out, id)
		return err
	})
	return out, err
}

// query is a statement as it grows; its further methods know the tables of traces.
type query struct{ *find.Builder }

func newQuery(tx db.Scope) *query { return &query{find.New(tx)} }
