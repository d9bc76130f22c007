// Package app builds the program: it knows everybody, decides nothing, and is what both cmd/keelson and the end-to-end
// tests start.
package app

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"keelson/internal/bin"
	"keelson/internal/engine/python"
	"keelson/internal/outbound"
)

// Config is everything that can be set. The defaults work on a laptop. A file, the environment (KEELSON_LISTEN, …) and
// flags fill it, in that order.
type Config struct {
	Listen      string   `yaml:"listen" doc:"host:port to serve on"`
	Data        string   `yaml:"data" doc:"folder for the database, the files and the keys"`
	Database    string   `yaml:"database" secret:"url" doc:"postgres://… or sqlite:///file?synchronous=full ; empty: SQLite in the data folder"`
	Blobs       string   `yaml:"blobs" secret:"url" doc:"s3://key:secret@host:port/bucket ; empty: a folder in the data folder"`
	Keys        string   `yaml:"keys" doc:"folder of the signing keys; empty: keys in the data folder"`
	Parts       []string `yaml:"parts" doc:"what this process does: api, worker, serving"`
	Auth        string   `yaml:"auth" doc:"on, or off (loopback only: everybody is local and nobody can vote)"`
	Hosts       []string `yaml:"hosts" doc:"host names the server answers to, beside its own address; guards against DNS rebinding"`
	PublicURL   string   `yaml:"public_url" doc:"address under which people reach the web interface, for links in alerts and reasons, like https://keelson.example.com; empty: the address it listens on"`
	Outbound    []string `yaml:"outbound_allow" doc:"addresses, networks (10.0.0.0/8) and host names (*.internal) inside that webhooks and other users' addresses may lead to, also over plain http; empty: public ones over https only"`
	Python      string   `yaml:"python" doc:"python that pipelines and models in Python use; empty: a private environment per requirements file"`
	OnnxThreads int64    `yaml:"onnx_threads" doc:"threads that compute one call of a model on the onnxruntime engine; with 1 answers do not depend on the machine's cores"`

	PythonModels    string        `yaml:"python_models" doc:"on, or off: whether MLflow pyfunc models and pickles run here, in Python processes of their own"`
	PythonIsolation string        `yaml:"python_isolation" doc:"the least isolation of those processes: any, landlock or namespaces; where the machine allows less they do not run"`
	PythonChildren  int64         `yaml:"python_children" doc:"processes per loaded version in Python; each answers one call at a time"`
	PythonStandby   int64         `yaml:"python_standby" doc:"further processes per loaded version that wait to take over after a crash"`
	PythonMemory    int64         `yaml:"python_memory" doc:"memory limit of one such process and what it starts, in bytes"`
	PythonCallTime  time.Duration `yaml:"python_call_time" doc:"how long one call of a model in Python may take"`
	PythonCPUTime   time.Duration `yaml:"python_cpu_time" doc:"how much processor time one call of a model in Python may take"`
	PythonLoadTime  time.Duration `yaml:"python_load_time" doc:"how long a model in Python may take to load"`

	LogFormat string `yaml:"log_format" doc:"text or json"`
	LogLevel  string `yaml:"log_level" doc:"debug, info, warn or error"`

	MaxUpload      int64         `yaml:"max_upload" doc:"largest data file or artifact, in bytes"`
	MaxInfer       int64         `yaml:"max_infer" doc:"largest request to a model, in bytes"`
	StepMemory     int64         `yaml:"step_memory" doc:"memory limit of a pipeline step that names none, in bytes"`
	StepTime       time.Duration `yaml:"step_time" doc:"time limit of a pipeline step that names none"`
	BinRetention   time.Duration `yaml:"bin_retention" doc:"how long deleted things can be restored before they are purged, like 720h (30 days); 0 keeps them until somebody purges them"`
	Studies        string        `yaml:"studies" doc:"nightly, or off: whether what the answers of each version hang on that is live is studied once a day, over its newest calls"`
	PredictionKeep time.Duration `yaml:"prediction_keep" doc:"how long predictions are kept where neither their endpoint nor their workspace says, like 365d; 0 keeps them"`
	ReadyWait      time.Duration `yaml:"ready_wait" doc:"how long a starting server waits for deployed models that load slowly before it says that it is ready; each model's own readiness is /v2/models/NAME/ready"`
	StopTimeout    time.Duration `yaml:"stop_timeout" doc:"how long requests in flight may take when the server stops"`
}

// Parts of the program.
const (
	PartAPI     = "api"
	PartWorker  = "worker"
	PartServing = "serving"
)

// Default is the configuration of a laptop.
func Default() Config {
	return Config{Listen: "127.0.0.1:5000", Data: "keelson-data", Parts: []string{PartAPI, PartWorker, PartServing}, Auth: "on",
		OnnxThreads: 1, PythonModels: "on", PythonIsolation: python.LevelLandlock, PythonChildren: 1, PythonMemory: 2 << 30, PythonCallTime: 30 * time.Second, PythonCPUTime: 30 * time.Second,
		PythonLoadTime: 2 * time.Minute, LogFormat: "text", LogLevel: "info", MaxUpload: 8 << 30, MaxInfer: 16 << 20, StepMemory: 8 << 30, StepTime: time.Hour, BinRetention: 30 * 24 * time.Hour, Studies: "nightly", ReadyWait: time.Minute, StopTimeout: 10 * time.Second}
}

// EnvPrefix begins the environment variables that set fields: KEELSON_MAX_UPLOAD.
const EnvPrefix = "KEELSON_"

// notConfig are variables with our prefix that set something else: the command line's and the tests'.
var notConfig = []string{"KEELSON_URL", "KEELSON_TOKEN", "KEELSON_CONFIG", "KEELSON_WORKSPACE", "KEELSON_RUN", "KEELSON_SEED", "KEELSON_OUTPUT",
	"KEELSON_SERVER", "KEELSON_PROFILE", "KEELSON_CHROMIUM", "KEELSON_ACCOUNTS", "KEELSON_SHOTS", "KEELSON_FLOWS", "KEELSON_BIN", "KEELSON_GOLDEN",
	"KEELSON_MLFLOW_PYTHON", "KEELSON_SCHEMATHESIS_PYTHON", "KEELSON_OIP_PYTHON", "KEELSON_CASES", "KEELSON_STEPS", "KEELSON_RUNS", "KEELSON_BENCH_RUNS", "KEELSON_SEEDED", "KEELSON_COOKIE", "KEELSON_THEMES", "KEELSON_PAGES", "KEELSON_WALKER", "KEELSON_PATIENCE"}

// guarded is what the steps of pipelines must not open: everything that this program keeps on the machine.
func (c Config) guarded() (out []string) {
	list := []string{c.Data, c.keys()}
	if at := strings.TrimPrefix(c.database(), "sqlite://"); !strings.Contains(at, "://") {
		at, _, _ = strings.Cut(at, "?")
		list = append(list, at, at+"-wal", at+"-shm")
	}
	if at := c.blobs(); !strings.Contains(at, "://") {
		list = append(list, at)
	}
	for _, p := range list {
		if at, err := filepath.Abs(p); err == nil {
			out = append(out, at)
		}
	}
	return out
}

// Load fills the defaults from a file ("" for none), then from the environment, then from set, which holds values by the
// names in the file as text. What is unknown or malformed is refused with where it stands.
func Load(file string, environ []string, set map[string]string) (Config, error) {
	c := Default()
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return c, fmt.Errorf("read configuration: %w", err)
		}
		if len(bytes.TrimSpace(b)) > 0 {
			if err := yaml.UnmarshalWithOptions(b, &c, yaml.Strict()); err != nil {
				return c, fmt.Errorf("%s: %s", file, yaml.FormatError(err, false, true))
			}
		}
	}
	names := c.fields()
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, EnvPrefix) || slices.Contains(notConfig, name) || strings.HasPrefix(name, "KEELSON_TEST_") || strings.HasPrefix(name, "KEELSON_DATA_") ||
			strings.HasPrefix(name, "KEELSON_REMOTE_") || strings.HasPrefix(name, "KEELSON_IMPORT_") {
			continue
		}
		key := strings.ToLower(strings.TrimPrefix(name, EnvPrefix))
		if !slices.Contains(names, key) {
			return c, fmt.Errorf("the environment variable %s is not known; the settings are %s", name, strings.Join(names, ", "))
		}
		if err := c.set(key, value); err != nil {
			return c, fmt.Errorf("the environment variable %s: %w", name, err)
		}
	}
	for key, value := range set {
		if err := c.set(key, value); err != nil {
			return c, fmt.Errorf("--%s: %w", strings.ReplaceAll(key, "_", "-"), err)
		}
	}
	return c, c.Validate()
}

func (c *Config) fields() (names []string) {
	for f := range reflect.TypeFor[Config]().Fields() {
		names = append(names, f.Tag.Get("yaml"))
	}
	return names
}

// set parses one value by its name in the file.
func (c *Config) set(key, value string) error {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") != key {
			continue
		}
		switch f := v.Field(i).Addr().Interface().(type) {
		case *string:
			*f = value
		case *[]string:
			*f = nil
			for part := range strings.SplitSeq(value, ",") {
				if part = strings.TrimSpace(part); part != "" {
					*f = append(*f, part)
				}
			}
		case *int64:
			n, err := parseSize(value)
			if err != nil {
				return err
			}
			*f = n
		case *time.Duration:
			d, err := bin.ParseAge(value)
			if err != nil {
				return fmt.Errorf("%q is no duration; write 30s or 5m", value)
			}
			*f = d
		}
		return nil
	}
	return fmt.Errorf("there is no setting %q", key)
}

// parseSize reads a number of bytes, with KiB, MiB or GiB after it if wished.
func parseSize(s string) (int64, error) {
	var n float64
	var unit string
	if _, err := fmt.Sscanf(s+" ", "%g%s", &n, &unit); err != nil && unit != "" || n < 0 || n > 1<<50 {
		return 0, fmt.Errorf("%q is no size; write 16777216 or 16MiB", s)
	}
	factor, ok := map[string]float64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
	if !ok {
		return 0, fmt.Errorf("%q is no size; the units are KiB, MiB and GiB", s)
	}
	return int64(n * factor), nil
}

// Validate checks what the fields mean together.
func (c Config) Validate() error {
	var errs []error
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		errs = append(errs, fmt.Errorf("listen: %q is not host:port", c.Listen))
	}
	if c.Auth != "on" && c.Auth != "off" {
		errs = append(errs, fmt.Errorf("auth: %q is not known; use on or off", c.Auth))
	}
	if c.Studies != "nightly" && c.Studies != "off" {
		errs = append(errs, fmt.Errorf("studies: %q is not known; use nightly or off", c.Studies))
	}
	if c.Auth == "off" && !loopback(host) {
		errs = append(errs, fmt.Errorf("auth: off is refused on %s, which others can reach; listen on 127.0.0.1 or switch sign-in on", c.Listen))
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "") {
		errs = append(errs, fmt.Errorf("public_url: %q is no address; write https://keelson.example.com", c.PublicURL))
	}
	if len(c.Parts) == 0 {
		errs = append(errs, errors.New("parts: name at least one of api, worker, serving"))
	}
	for _, p := range c.Parts {
		if p != PartAPI && p != PartWorker && p != PartServing {
			errs = append(errs, fmt.Errorf("parts: %q is not known; the parts are api, worker, serving", p))
		}
	}
	if c.Database == "" && len(c.Parts) < 3 {
		errs = append(errs, errors.New("parts: processes that share the work need --database postgres://…; SQLite belongs to one process"))
	}
	if c.Data == "" {
		errs = append(errs, errors.New("data: name a folder"))
	}
	if _, err := outbound.Parse(c.Outbound); err != nil {
		errs = append(errs, fmt.Errorf("outbound_allow: %w", err))
	}
	if c.PythonModels != "on" && c.PythonModels != "off" {
		errs = append(errs, fmt.Errorf("python_models: %q is not known; use on or off", c.PythonModels))
	}
	if !slices.Contains([]string{"any", python.LevelLandlock, python.LevelNamespaces}, c.PythonIsolation) {
		errs = append(errs, fmt.Errorf("python_isolation: %q is not known; use any, landlock or namespaces", c.PythonIsolation))
	}
	if c.PythonChildren < 1 || c.PythonChildren > 64 || c.PythonStandby < 0 || c.PythonStandby > 64 {
		errs = append(errs, fmt.Errorf("python_children, python_standby: 1 to 64 and 0 to 64 are possible; got %d and %d", c.PythonChildren, c.PythonStandby))
	}
	if c.PythonMemory < 64<<20 {
		errs = append(errs, fmt.Errorf("python_memory: Python needs at least 64MiB; got %d bytes", c.PythonMemory))
	}
	if c.PythonCallTime <= 0 || c.PythonCPUTime <= 0 || c.PythonLoadTime <= 0 {
		errs = append(errs, errors.New("python_call_time, python_cpu_time, python_load_time: each is a time above 0, such as 30s"))
	}
	if c.ReadyWait < 0 || c.ReadyWait > time.Hour {
		errs = append(errs, fmt.Errorf("ready_wait: a time from 0 to 1h is possible; got %s", c.ReadyWait))
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("log_format: %q is not known; use text or json", c.LogFormat))
	}
	if _, err := c.level(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return l, fmt.Errorf("log_level: %q is not known; use debug, info, warn or error", c.LogLevel)
	}
	return l, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (c Config) has(part string) bool { return slices.Contains(c.Parts, part) }

// database, blobs and keys are where the three lie when they are not set.
func (c Config) database() string {
	if c.Database != "" {
		return c.Database
	}
	return filepath.Join(c.Data, "keelson.db")
}

func (c Config) blobs() string {
	if c.Blobs != "" {
		return c.Blobs
	}
	return filepath.Join(c.Data, "blobs")
}

func (c Config) keys() string {
	if c.Keys != "" {
		return c.Keys
	}
	return filepath.Join(c.Data, "keys")
}

// String shows the configuration with passwords hidden.
func (c Config) String() string {
	c.Database, c.Blobs = hide(c.Database), hide(c.Blobs)
	b, err := yaml.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func hide(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.User == nil {
		return location
	}
	if _, ok := u.User.Password(); ok {
		u.User = url.UserPassword(u.User.Username(), "hidden")
	}
	return u.String()
}
