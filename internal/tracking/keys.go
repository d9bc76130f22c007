package tracking

import (
	"slices"

	"keelson/internal/db"
	"keelson/internal/db/find"
)

// Limits of what is told about keys.
const (
	maxKeys     = 1000  // of each kind
	maxKeyRuns  = 10000 // runs counted per key
	maxKeyPlace = 20    // experiments that are looked at when none is named
)

// keyCount is a metric, parameter or tag and how many runs have it, up to maxKeyRuns.
type keyCount struct {
	Key  string `json:"key"`
	Runs int    `json:"runs" doc:"runs that have it, counted up to 10,000"`
}

// hop reads the keys of a table's index one after the other, each by one look into the index instead of reading it whole.
// read gets the last key and gives the next.
func hop(limit int, read func(last string) (string, error)) (out []string, err error) {
	last := ""
	for len(out) < limit {
		next, err := read(last)
		if err == db.ErrNoRows {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out, last = append(out, next), next
	}
	return out, nil
}

// keyIndexes are the indexes that know the keys of a table.
func keyIndexes(table string) []string {
	if table == runSide.metric {
		return []string{"_value", "_nan"}
	}
	return []string{"_value"}
}

// narrow restricts metric_latest to the rows that an index holds.
func narrow(index string) string {
	return map[string]string{"metric_latest_value": ` AND kind <> 1`, "metric_latest_nan": ` AND kind = 1`}[index]
}

// keysOf gives the keys of a table (run_param, run_tag, metric_latest) in experiments, sorted, at most limit.
func keysOf(tx db.Scope, table string, experiments []string, limit int) (out []string, err error) {
	f := &finder{tx: tx}
	for _, e := range experiments {
		for _, suffix := range keyIndexes(table) {
			index := table + suffix
			keys, err := hop(limit, func(last string) (key string, err error) {
				b := find.New(tx)
				b.Add(`SELECT key FROM `+table+f.by(index)+` WHERE workspace = `, b.Arg(tx.Workspace), ` AND experiment = `, b.Arg(e), ` AND key > `, b.Arg(last), narrow(index), ` ORDER BY workspace, experiment, key LIMIT 1`)
				err = tx.QueryRow(b.String(), b.Values...).Scan(&key)
				return key, err
			})
			if err != nil {
				return nil, err
			}
			out = append(out, keys...)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), limit)], nil
}

// countKey counts the runs of experiments that have a key, up to maxKeyRuns.
func countKey(tx db.Scope, table string, experiments []string, key string) (n int, err error) {
	f := &finder{tx: tx}
	for _, suffix := range keyIndexes(table) {
		index := table + suffix
		b := find.New(tx)
		b.Add(`SELECT COUNT(*) FROM (SELECT 1 FROM `+table+f.by(index)+` WHERE workspace = `, b.Arg(tx.Workspace), ` AND experiment IN (`, b.Args(experiments), `) AND key = `, b.Arg(key), narrow(index),
			` LIMIT `, b.Arg(maxKeyRuns), `) t`)
		var k int
		if err := tx.QueryRow(b.String(), b.Values...).Scan(&k); err != nil {
			return 0, err
		}
		n += k
	}
	return min(n, maxKeyRuns), nil
}

// valuesOf gives values of a parameter or tag that begin with head, sorted, at most limit; of long ones the first.
func valuesOf(tx db.Scope, table string, experiments []string, key, head string, limit int) (out []string, err error) {
	f := &finder{tx: tx}
	for _, e := range experiments {
		lead, _ := begin(head)
		first := true
		_, err := hop(limit, func(last string) (string, error) {
			b := find.New(tx)
			part := b.Bytewise(`substr(value, 1, 64)`)
			op := ` > `
			if first { // the head itself counts
				first, last, op = false, lead, ` >= `
			}
			b.Add(`SELECT `+part+`, value FROM `+table+f.by(table+"_value")+` WHERE workspace = `, b.Arg(tx.Workspace), ` AND experiment = `, b.Arg(e), ` AND key = `, b.Arg(key),
				` AND `, part, op, b.Arg(last), ` AND `, part, ` < `, b.Arg(lead+"\U0010FFFF"), ` ORDER BY `, part, ` LIMIT 1`)
			var value string
			err := tx.QueryRow(b.String(), b.Values...).Scan(&last, &value)
			if err == nil {
				out = append(out, value)
			}
			return last, err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), limit)], nil
}

// places are the experiments to look for keys in.
func places(tx db.Scope, experiments []string) (out []string, err error) {
	if len(experiments) > 0 {
		return experiments[:min(len(experiments), maxKeyPlace)], nil
	}
	err = tx.Each(`SELECT id FROM experiment WHERE workspace = $1 AND deleted = 0 ORDER BY updated_at DESC LIMIT $2`, []any{tx.Workspace, maxKeyPlace}, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		out = append(out, id)
		return err
	})
	return out, err
}
