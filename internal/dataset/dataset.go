// Package dataset keeps the data that models are made of: named data sets with versions that are addressed
// by the SHA-256 of their bytes.
//
//	file ──▶ temporary file, hashed on the way ──▶ schema, profile, rules ──▶ version
//	                                                      └── a rule is broken ──▶ refused, nothing stored
//
// A version never changes; the same bytes imported again answer the version they became before. Files are
// CSV (UTF-8, commas, RFC 4180, one header line) or Parquet with flat columns. Both come from strangers:
// a length field in a file never sizes an allocation, and what cannot be read is refused with the line,
// row or column where it stopped.
//
// The package does not transform data; a pipeline does, and its outputs come back as versions with parents.
package dataset

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"keelson/internal/problem"
)

// Type is what the cells of a column hold. A missing cell belongs to every type.
type Type string

const (
	Int    Type = "int"    // whole numbers of 64 bits
	Float  Type = "float"  // float64, ±Inf included; NaN is a missing cell
	String Type = "string" // UTF-8, never parsed: "1", "01" and "1.0" are three words
	Bool   Type = "bool"   // true, false
	Time   Type = "time"   // an instant, microseconds UTC
)

// Field is one column of a schema.
type Field struct {
	Name string `json:"name"`
	Type Type   `json:"type" enum:"int,float,string,bool,time"`
}

// Ref names a version of a data set; Version 0 means the latest.
type Ref struct {
	Dataset string `json:"dataset"`
	Version int    `json:"version"`
}

// Dataset is a name under which versions gather.
type Dataset struct {
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Owner       string    `json:"owner" doc:"who answers for the data"`
	Sensitivity string    `json:"sensitivity" doc:"public, internal, confidential or restricted"`
	Source      string    `json:"source" doc:"where the data comes from"`
	Personal    []string  `json:"personal" doc:"columns about people: the prediction log of models made of the data leaves them out"`
	Target      string    `json:"target" doc:"the column that a model learns to predict, if there is one"`
	Rules       []Rule    `json:"rules"`
	Versions    int       `json:"versions"`
	Latest      *Latest   `json:"latest"`
	CreatedBy   string    `json:"created_by"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// Latest sums up a data set's newest version.
type Latest struct {
	Version   int       `json:"version"`
	Digest    string    `json:"digest"`
	Rows      int64     `json:"rows"`
	Columns   int       `json:"columns"`
	CreatedAt time.Time `json:"created_at"`
}

// Version is one file of a data set and what was found in it.
type Version struct {
	Dataset     string          `json:"dataset"`
	Version     int             `json:"version"`
	Digest      string          `json:"digest" doc:"sha256:… of the bytes"`
	Format      string          `json:"format" enum:"csv,parquet"`
	Size        int64           `json:"size" doc:"bytes"`
	Rows        int64           `json:"rows"`
	Schema      []Field         `json:"schema"`
	Profile     []ColumnProfile `json:"profile"`
	Parents     []Ref           `json:"parents" doc:"the versions this one was made from"`
	Run         string          `json:"run,omitempty" doc:"the pipeline run that made it"`
	CreatedBy   string          `json:"created_by"`
	CreatedAt   time.Time       `json:"created_at"`
	Note        string          `json:"note"`
	RulesResult []RuleResult    `json:"rules_result"`
	// Existing says that the bytes were there already and nothing was stored.
	Existing bool `json:"existing,omitempty"`
}

// RuleResult says that a rule held when the version was imported.
type RuleResult struct {
	ID     string `json:"id"`
	Column string `json:"column,omitempty"`
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
}

var (
	nameShape     = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}$`)
	sensitivities = map[string]bool{"": true, "public": true, "internal": true, "confidential": true, "restricted": true}
)

// Check refuses names and values that cannot stand.
func (d *Dataset) Check() error {
	if !nameShape.MatchString(d.Name) {
		return problem.New(problem.Invalid, "%q is no name for a data set: use up to 100 lower-case letters, digits, dots, dashes and underscores, beginning with a letter or digit.", d.Name).At("name")
	}
	if !sensitivities[d.Sensitivity] {
		return problem.New(problem.Invalid, "Sensitivity %q is not known; use public, internal, confidential or restricted.", d.Sensitivity).At("sensitivity")
	}
	seen := map[string]bool{}
	for i, c := range d.Personal {
		if c == "" || len(c) > 1000 || strings.IndexByte(c, 0) >= 0 || seen[c] {
			return problem.New(problem.Invalid, "The personal column %q is empty, too long or stands twice.", c[:min(len(c), 80)]).At(fmt.Sprintf("personal[%d]", i))
		}
		seen[c] = true
	}
	return CheckRules(d.Rules)
}

// Limits bound what one file may cost.
type Limits struct {
	Bytes   int64 // of the file; default 4 GiB
	Columns int   // default 16,384
	Field   int   // bytes of one cell; default 1 MiB
	Rows    int64 // default 100 million
	Memory  int64 // bytes kept for exact quantiles of all columns together; default 64 MiB
	Table   int64 // bytes of a Table in memory; default 1 GiB
}

func (l Limits) filled() Limits {
	set := func(v *int64, to int64) {
		if *v <= 0 {
			*v = to
		}
	}
	set(&l.Bytes, 4<<30)
	set(&l.Rows, 100_000_000)
	set(&l.Memory, 64<<20)
	set(&l.Table, 1<<30)
	if l.Columns <= 0 {
		l.Columns = 16_384
	}
	if l.Field <= 0 {
		l.Field = 1 << 20
	}
	return l
}
