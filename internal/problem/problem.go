// Package problem says what a caller can do about a failure.
//
// A failure the caller can act on is an *Error with a Kind and one full sentence; everything else is a plain wrapped
// error and counts as Internal. The protocols translate kinds to their own codes (rest, mlflowapi, oip), never a noun.
package problem

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// Kind says what the caller can do about a failure. New kinds go at the end; none is renamed,
// because clients switch on the type URI made from it.
type Kind string

const (
	Invalid         Kind = "invalid"         // fix the request and send it again
	NotFound        Kind = "not-found"       // the name is wrong or you may not see it
	Forbidden       Kind = "forbidden"       // ask somebody else
	Conflict        Kind = "conflict"        // read the new state, then decide
	Internal        Kind = "internal"        // ours; the log has the cause
	Unauthenticated Kind = "unauthenticated" // sign in or send a token
	Exhausted       Kind = "exhausted"       // slow down, try later
	Unsupported     Kind = "unsupported"     // this build or engine cannot do it
	Unavailable     Kind = "unavailable"     // try again; nothing was changed
	TooLarge        Kind = "too-large"       // send less, or have the limit raised
	Stored          Kind = "storage-full"    // the disk or bucket takes no more writes
)

// statuses is the HTTP column of the table in docs/reference/errors.md.
var statuses = map[Kind]int{
	Invalid: http.StatusUnprocessableEntity, NotFound: http.StatusNotFound, Forbidden: http.StatusForbidden,
	Conflict: http.StatusConflict, Internal: http.StatusInternalServerError, Unauthenticated: http.StatusUnauthorized,
	Exhausted: http.StatusTooManyRequests, Unsupported: http.StatusNotImplemented, Unavailable: http.StatusServiceUnavailable,
	TooLarge: http.StatusRequestEntityTooLarge, Stored: http.StatusInsufficientStorage,
}

// Status is the HTTP status of a kind; an unknown kind is 500.
func (k Kind) Status() int {
	if s, ok := statuses[k]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Error is a failure the caller can act on.
type Error struct {
	Kind   Kind
	Detail string // one full sentence for a person: the thing, why, and the way out
	Field  string // where in the request, as "plan.steps[1].share"; empty when it is not one field
	Fields []Field
	Wait   time.Duration // until trying again can help; 0 when nobody knows
	Attack string        // what an auditor would call the attempt; empty for an honest mistake
	cause  error
}

// Field is one of several findings about one request.
type Field struct {
	Field  string  `json:"field"`
	Detail string  `json:"detail"`
	Rule   string  `json:"rule,omitempty"`
	Rows   []int64 `json:"rows,omitempty"`  // 1-based, the first ones
	Count  int64   `json:"count,omitempty"` // all rows concerned
}

// whole and whole64 are lists of whole numbers, such as shapes, as a reader writes them: [2, 30].
type (
	whole   []int
	whole64 []int64
)

func (x whole) String() string   { return strings.ReplaceAll(fmt.Sprint([]int(x)), " ", ", ") }
func (x whole64) String() string { return strings.ReplaceAll(fmt.Sprint([]int64(x)), " ", ", ") }

// New makes an error of kind k; the formatted text is its detail. Lists of whole numbers among a are written with commas.
func New(k Kind, format string, a ...any) *Error {
	for i, v := range a {
		switch v := v.(type) {
		case []int:
			a[i] = whole(v)
		case []int64:
			a[i] = whole64(v)
		}
	}
	return &Error{Kind: k, Detail: fmt.Sprintf(format, a...)}
}

// At names the field of the request that is at fault.
func (e *Error) At(field string) *Error { e.Field = field; return e }

// With adds findings about single fields.
func (e *Error) With(fields ...Field) *Error { e.Fields = append(e.Fields, fields...); return e }

// Suspect marks a refusal of what nobody does by mistake, with its kind in one word ("path", "source"): it is audited.
func (e *Error) Suspect(kind string) *Error { e.Attack = kind; return e }

// After says when trying again can help.
func (e *Error) After(wait time.Duration) *Error { e.Wait = wait; return e }

// RetryAfter is the value of the header Retry-After for err: whole seconds, at least 1.
func RetryAfter(err error) int {
	wait := time.Second
	if e, ok := As(err); ok {
		wait = max(wait, e.Wait)
	}
	return int(math.Ceil(wait.Seconds()))
}

// Because keeps the cause for the log; callers never see it.
func (e *Error) Because(cause error) *Error { e.cause = cause; return e }

func (e *Error) Error() string {
	if e.cause != nil {
		return e.Detail + " (" + e.cause.Error() + ")"
	}
	return e.Detail
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// KindOf finds the kind in err's chain; an error without one is Internal.
func KindOf(err error) Kind {
	if e, ok := As(err); ok {
		return e.Kind
	}
	return Internal
}

// As finds the problem in err's chain.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Is reports whether err is a problem of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// Detail is what err says to a person: a problem's sentence without its cause, or all of another error's text.
func Detail(err error) string {
	if e, ok := As(err); ok {
		return e.Detail
	}
	return err.Error()
}

// Clip shortens what somebody else wrote to about n bytes for a message: longer text ends with … and is cut between
// characters.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
