// Package mlflow copies what a running MLflow server keeps to a Keelson server, over the two servers' HTTP interfaces, and
// compares both sides afterwards.
//
// What is copied keeps its id (runs, logged models), its number (versions) and its times, so a copy that was cut off goes on
// where it stopped and one that is run again copies nothing twice: what the target has already is the state.
package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Server is an MLflow server as its clients see it. Token or User and Password sign in; both may be empty.
type Server struct {
	URL                   string
	Token, User, Password string
	Workspace             string // sent as X-MLFLOW-WORKSPACE when set
	HTTP                  *http.Client
	Pause                 time.Duration // before the first repetition of a failed read; 0 means 200 ms
}

// Open checks an address and gives the server behind it.
func Open(address string) (*Server, error) {
	u, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not the address of an MLflow server; write it like http://host:5000", address)
	}
	s := &Server{HTTP: &http.Client{}}
	if u.User != nil {
		s.User = u.User.Username()
		s.Password, _ = u.User.Password()
		u.User = nil
	}
	s.URL = u.String()
	return s, nil
}

// Failure is a refusal of an MLflow server.
type Failure struct {
	Status  int
	Code    string `json:"error_code"`
	Message string `json:"message"`
	Detail  string `json:"detail"` // of our own interface
}

func (f *Failure) Error() string {
	if f.Detail != "" {
		return f.Detail
	}
	if f.Message == "" {
		return fmt.Sprintf("the MLflow server answered %d", f.Status)
	}
	return f.Message
}

// failureOf reads a refusal; what is not JSON, such as a page, leaves it without a code.
func failureOf(resp *http.Response) *Failure {
	f := &Failure{}
	if text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err == nil {
		_ = json.Unmarshal(text, f)
	}
	f.Status = resp.StatusCode
	return f
}

// absent reports that a server does not offer what was called: an older one, or one without artifacts.
func absent(err error) bool {
	var f *Failure
	if !errors.As(err, &f) {
		return false
	}
	return f.Code == "NOT_IMPLEMENTED" || f.Code == "ENDPOINT_NOT_FOUND" || f.Code == "" && (f.Status == http.StatusNotFound || f.Status == http.StatusMethodNotAllowed)
}

func missing(err error) bool {
	var f *Failure
	return errors.As(err, &f) && (f.Code == "RESOURCE_DOES_NOT_EXIST" || f.Status == http.StatusNotFound)
}

const (
	maxAnswer = 256 << 20 // bytes of a JSON answer
	tries     = 5
)

// do sends a request and gives the answer, whose body the caller closes. Reads and searches are sent again when the server
// is busy or out of reach for a moment.
func (s *Server) do(ctx context.Context, method, path string, query url.Values, in any) (*http.Response, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	at := s.URL + path
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	pause := s.Pause
	if pause == 0 {
		pause = 200 * time.Millisecond
	}
	for n := 1; ; n++ {
		req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if in != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		req.Header.Set("User-Agent", "keelson-import")
		switch {
		case s.Token != "":
			req.Header.Set("Authorization", "Bearer "+s.Token)
		case s.User != "":
			req.SetBasicAuth(s.User, s.Password)
		}
		if s.Workspace != "" {
			req.Header.Set("X-MLFLOW-WORKSPACE", s.Workspace)
		}
		resp, err := s.HTTP.Do(req)
		if err == nil && resp.StatusCode < 400 {
			return resp, nil
		}
		again := true
		if err == nil {
			f := failureOf(resp)
			resp.Body.Close()
			err, again = f, f.Status == 429 || f.Status == 502 || f.Status == 503 || f.Status == 504
		} else if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		} else {
			err = fmt.Errorf("cannot reach %s: %w", s.URL, err)
		}
		if !again || n == tries {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause *= 2
	}
}

func (s *Server) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	resp, err := s.do(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", s.URL, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer of %s%s is not MLflow's: %w", s.URL, path, err)
	}
	return nil
}

const api = "/api/2.0/mlflow/"

// number is an integer that comes as a number or as a string of digits.
type number int64

func (n *number) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" || text == "" {
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil {
			return err
		}
		v = int64(f)
	}
	*n = number(v)
	return nil
}

type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func toMap(list []pair) map[string]string {
	out := map[string]string{}
	for _, p := range list {
		out[p.Key] = p.Value
	}
	return out
}

type experiment struct {
	ID      string `json:"experiment_id"`
	Name    string `json:"name"`
	Stage   string `json:"lifecycle_stage"`
	Created number `json:"creation_time"`
	Updated number `json:"last_update_time"`
	Tags    []pair `json:"tags"`
}

type modelRef struct {
	Model string `json:"model_id"`
	Step  number `json:"step"`
}

type run struct {
	Info struct {
		ID         string `json:"run_id"`
		UUID       string `json:"run_uuid"`
		Name       string `json:"run_name"`
		Experiment string `json:"experiment_id"`
		User       string `json:"user_id"`
		Status     string `json:"status"`
		Start      number `json:"start_time"`
		End        number `json:"end_time"`
		Artifacts  string `json:"artifact_uri"`
		Stage      string `json:"lifecycle_stage"`
	} `json:"info"`
	Data struct {
		Metrics []point `json:"metrics"`
		Params  []pair  `json:"params"`
		Tags    []pair  `json:"tags"`
	} `json:"data"`
	Inputs struct {
		Datasets []struct {
			Tags    []pair `json:"tags"`
			Dataset struct {
				Name       string `json:"name"`
				Digest     string `json:"digest"`
				SourceType string `json:"source_type"`
				Source     string `json:"source"`
				Schema     string `json:"schema"`
				Profile    string `json:"profile"`
			} `json:"dataset"`
		} `json:"dataset_inputs"`
		Models []modelRef `json:"model_inputs"`
	} `json:"inputs"`
	Outputs struct {
		Models []modelRef `json:"model_outputs"`
	} `json:"outputs"`
}

// point is one measured value; Value is as it was sent: a number or "NaN".
type point struct {
	Key           string          `json:"key"`
	Value         json.RawMessage `json:"value"`
	Timestamp     number          `json:"timestamp"`
	Step          number          `json:"step"`
	Model         string          `json:"model_id,omitempty"`
	Dataset       string          `json:"dataset_name,omitempty"`
	DatasetDigest string          `json:"dataset_digest,omitempty"`
	Run           string          `json:"run_id,omitempty"`
}

type loggedModel struct {
	Info struct {
		ID         string `json:"model_id"`
		Experiment string `json:"experiment_id"`
		Name       string `json:"name"`
		Created    number `json:"creation_timestamp_ms"`
		Updated    number `json:"last_updated_timestamp_ms"`
		Artifacts  string `json:"artifact_uri"`
		Status     string `json:"status"`
		Kind       string `json:"model_type"`
		Run        string `json:"source_run_id"`
		Tags       []pair `json:"tags"`
	} `json:"info"`
	Data struct {
		Params  []pair  `json:"params"`
		Metrics []point `json:"metrics"`
	} `json:"data"`
}

type registeredModel struct {
	Name        string `json:"name"`
	Created     number `json:"creation_timestamp"`
	Updated     number `json:"last_updated_timestamp"`
	Description string `json:"description"`
	Tags        []pair `json:"tags"`
	Aliases     []struct {
		Alias   string `json:"alias"`
		Version string `json:"version"`
	} `json:"aliases"`
}

type modelVersion struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Created     number `json:"creation_timestamp"`
	Updated     number `json:"last_updated_timestamp"`
	Stage       string `json:"current_stage"`
	Description string `json:"description"`
	Source      string `json:"source"`
	Run         string `json:"run_id"`
	Status      string `json:"status"`
	Tags        []pair `json:"tags"`
	Model       string `json:"model_id"`
}

// experiments gives all experiments of a view: ACTIVE_ONLY or ALL.
func (s *Server) experiments(ctx context.Context, view string) (out []experiment, err error) {
	token := ""
	for {
		var page struct {
			Experiments []experiment `json:"experiments"`
			Next        string       `json:"next_page_token"`
		}
		in := map[string]any{"max_results": 1000, "view_type": view}
		if token != "" {
			in["page_token"] = token
		}
		if err := s.call(ctx, "POST", api+"experiments/search", nil, in, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Experiments...)
		if token = page.Next; token == "" {
			return out, nil
		}
	}
}

// runs calls fn with the runs of an experiment, the oldest first, page by page.
func (s *Server) runs(ctx context.Context, experiment, view string, fn func([]run) error) error {
	token := ""
	for {
		var page struct {
			Runs []run  `json:"runs"`
			Next string `json:"next_page_token"`
		}
		in := map[string]any{"experiment_ids": []string{experiment}, "max_results": 500, "run_view_type": view, "order_by": []string{"attributes.start_time ASC"}}
		if token != "" {
			in["page_token"] = token
		}
		if err := s.call(ctx, "POST", api+"runs/search", nil, in, &page); err != nil {
			return err
		}
		for i := range page.Runs {
			if r := &page.Runs[i]; r.Info.ID == "" {
				r.Info.ID = r.Info.UUID
			}
		}
		if err := fn(page.Runs); err != nil {
			return err
		}
		if token = page.Next; token == "" {
			return nil
		}
	}
}

func (s *Server) run(ctx context.Context, id string) (run, error) {
	var out struct {
		Run run `json:"run"`
	}
	err := s.call(ctx, "GET", api+"runs/get", url.Values{"run_id": {id}}, nil, &out)
	return out.Run, err
}

// history gives all points of a metric of a run.
func (s *Server) history(ctx context.Context, run, key string) (out []point, err error) {
	token := ""
	for {
		var page struct {
			Metrics []point `json:"metrics"`
			Next    string  `json:"next_page_token"`
		}
		q := url.Values{"run_id": {run}, "metric_key": {key}, "max_results": {"25000"}}
		if token != "" {
			q.Set("page_token", token)
		}
		if err := s.call(ctx, "GET", api+"metrics/get-history", q, nil, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Metrics...)
		if token = page.Next; token == "" {
			return out, nil
		}
	}
}

// loggedModels calls fn with the logged models of an experiment; a server without them has none.
func (s *Server) loggedModels(ctx context.Context, experiment string, fn func([]loggedModel) error) error {
	token := ""
	for {
		var page struct {
			Models []loggedModel `json:"models"`
			Next   string        `json:"next_page_token"`
		}
		in := map[string]any{"experiment_ids": []string{experiment}, "max_results": 50}
		if token != "" {
			in["page_token"] = token
		}
		if err := s.call(ctx, "POST", api+"logged-models/search", nil, in, &page); err != nil {
			if absent(err) {
				return nil
			}
			return err
		}
		if err := fn(page.Models); err != nil {
			return err
		}
		if token = page.Next; token == "" {
			return nil
		}
	}
}

func (s *Server) loggedModel(ctx context.Context, id string) (loggedModel, error) {
	var out struct {
		Model loggedModel `json:"model"`
	}
	err := s.call(ctx, "GET", api+"logged-models/"+url.PathEscape(id), nil, nil, &out)
	return out.Model, err
}

// models gives all registered models with their aliases.
func (s *Server) models(ctx context.Context) (out []registeredModel, err error) {
	token := ""
	for {
		var page struct {
			Models []registeredModel `json:"registered_models"`
			Next   string            `json:"next_page_token"`
		}
		q := url.Values{"max_results": {"100"}}
		if token != "" {
			q.Set("page_token", token)
		}
		if err := s.call(ctx, "GET", api+"registered-models/search", q, nil, &page); err != nil {
			return nil, err
		}
		for _, m := range page.Models { // a search leaves the aliases out in some versions
			full, err := s.model(ctx, m.Name)
			if err != nil {
				return nil, err
			}
			out = append(out, full)
		}
		if token = page.Next; token == "" {
			return out, nil
		}
	}
}

func (s *Server) model(ctx context.Context, name string) (registeredModel, error) {
	var out struct {
		Model registeredModel `json:"registered_model"`
	}
	err := s.call(ctx, "GET", api+"registered-models/get", url.Values{"name": {name}}, nil, &out)
	return out.Model, err
}

// versions gives all versions of a model.
func (s *Server) versions(ctx context.Context, model string) (out []modelVersion, err error) {
	quote := "'"
	if strings.Contains(model, quote) {
		quote = `"`
	}
	token := ""
	for {
		var page struct {
			Versions []modelVersion `json:"model_versions"`
			Next     string         `json:"next_page_token"`
		}
		q := url.Values{"filter": {"name=" + quote + model + quote}, "max_results": {"1000"}}
		if token != "" {
			q.Set("page_token", token)
		}
		if err := s.call(ctx, "GET", api+"model-versions/search", q, nil, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Versions...)
		if token = page.Next; token == "" {
			return out, nil
		}
	}
}
