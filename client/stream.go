package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// OutcomeAck is the answer to one line of a stream of outcomes.
type OutcomeAck struct {
	Line   int    `json:"line"`
	State  string `json:"state"` // accepted, duplicate or refused
	Detail string `json:"detail,omitempty"`
}

// OutcomeSum is what came of a file or a stream of outcomes.
type OutcomeSum struct {
	Lines      int  `json:"lines"`
	Accepted   int  `json:"accepted"`
	Duplicates int  `json:"duplicates"`
	Refused    int  `json:"refused"`
	Done       bool `json:"done"`
}

// StreamOutcomes sends lines of JSON ({"prediction_id", "row", "value", "at"}) over one long request, as body gives them.
// fn is called with the answer to each line, which is on record then; its error ends the stream.
func (c *Client) StreamOutcomes(ctx context.Context, body io.Reader, fn func(OutcomeAck) error) (sum OutcomeSum, err error) {
	r, err := c.request(ctx, http.MethodPost, "/api/v1/outcomes/stream", body, "application/x-ndjson")
	if err != nil {
		return sum, err
	}
	resp, err := c.send(r)
	if err != nil {
		return sum, err
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var line struct {
			OutcomeAck
			OutcomeSum
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return sum, fmt.Errorf("read the answer to a stream of outcomes: %w", err)
		}
		if line.Line == 0 {
			sum = line.OutcomeSum
			continue
		}
		if err := fn(line.OutcomeAck); err != nil {
			return sum, err
		}
	}
	if err := in.Err(); err != nil {
		return sum, fmt.Errorf("read the answers to a stream of outcomes: %w", err)
	}
	if !sum.Done {
		return sum, fmt.Errorf("the stream of outcomes broke off before its end")
	}
	return sum, nil
}
