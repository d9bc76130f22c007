package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"keelson/internal/access"
	"keelson/internal/audit"
	"keelson/internal/bin"
	"keelson/internal/blob"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/identity"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/journal"
	"keelson/internal/mlflowapi"
	"keelson/internal/notify"
	"keelson/internal/obs"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/seal"
	"keelson/internal/study"
	"keelson/internal/webhook"
)

// Version is the version of the program; releases set it when they are built.
var Version = "0.1.0-dev"

// App is the program, built but not running. Make it with New, run it with Run, end it with Close.
type App struct {
	Config   Config
	API      *rest.API
	Identity *identity.Service
	DB       *db.DB
	Blobs    blob.Store
	Keeper   *blob.Keeper
	Bin      *bin.Service
	Audit    *audit.Log
	Events   *event.Bus
	Jobs     *job.Runner
	Log      *slog.Logger
	URL      string // where it answers, once Run has begun to

	node     string
	lines    *journal.Lines // of the log, those that name an endpoint
	metrics  *obs.Metrics
	release  *seal.Key
	secrets  *seal.Key // encrypts what has to be read again
	lock     *os.File
	refusals *rest.Refusals
	ready    atomic.Bool
	run      []func(context.Context) error // what works in the background until Run's context ends
	nouns
}

// New opens the database (and brings its schema up to date), the files and the keys and builds everything else.
func New(ctx context.Context, c Config, logTo io.Writer) (_ *App, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	level, err := c.level()
	if err != nil {
		return nil, err
	}
	log, err := obs.Logger(logTo, c.LogFormat, level)
	if err != nil {
		return nil, err
	}
	lines := &journal.Lines{}
	log = slog.New(lines.Handler(log.Handler()))
	a := &App{Config: c, Log: log, node: db.NewID(), metrics: obs.NewMetrics(), lines: lines}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, dir := range []string{c.Data, filepath.Join(c.Data, "tmp"), filepath.Join(c.Data, "work")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make data folder: %w", err)
		}
	}
	if err := a.lockData(); err != nil {
		return nil, err
	}
	if a.DB, err = db.Open(ctx, c.database()); err != nil {
		return nil, err
	}
	if err := a.DB.Migrate(ctx); err != nil {
		return nil, err
	}
	if a.Blobs, err = blob.Open(ctx, c.blobs()); err != nil {
		return nil, err
	}
	auditKey, err := seal.Load(filepath.Join(c.keys(), "audit.key"))
	if err != nil {
		return nil, err
	}
	if a.release, err = seal.Load(filepath.Join(c.keys(), "release.key")); err != nil {
		return nil, err
	}
	if a.secrets, err = seal.Load(filepath.Join(c.keys(), "secrets.key")); err != nil {
		return nil, err
	}
	a.Audit = &audit.Log{DB: a.DB, Blobs: a.Blobs, Key: auditKey, Log: log}
	if err := a.Audit.Open(); err != nil {
		return nil, err
	}
	a.Events = &event.Bus{DB: a.DB, Log: log, Node: a.node}
	a.Jobs = &job.Runner{DB: a.DB, Log: log, Node: a.node, Queues: map[string]int{"default": 4, job.Urgent: 4, "pipeline": 4, webhook.Queue: 4, notify.Queue: 4, inventory.PrepareQueue: 2, study.Queue: 1}}
	a.Identity = &identity.Service{DB: a.DB, Log: log, Now: time.Now, Auth: c.Auth == "on"}
	a.Identity.Open()
	a.API = rest.New(Version, a.Identity, log)
	a.refusals = rest.NewRefusals(a.DB, log)
	a.run = append(a.run, a.refusals.Run, a.Audit.Run, a.Identity.Run, func(ctx context.Context) error { return a.Events.Run(ctx, c.has(PartWorker)) })
	if err := a.wire(); err != nil {
		return nil, err
	}
	if c.has(PartWorker) {
		a.run = append(a.run, a.Jobs.Run)
	}
	a.kitRoutes()
	return a, nil
}

// lockWait is how long a starting process waits for the data folder of one that is ending.
const lockWait = 2 * time.Second

// lockData makes sure that one process at a time uses the data folder.
func (a *App) lockData() error {
	f, err := os.OpenFile(filepath.Join(a.Config.Data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock data folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	// A process that was killed while it started another leaves the lock to that one until it has begun.
	for end := time.Now().Add(lockWait); err != nil && time.Now().Before(end); err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) {
		time.Sleep(lockWait / 50)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("the data folder %s is in use by another keelson; stop it, or name another folder with --data", a.Config.Data)
	}
	a.lock = f
	return nil
}

func (a *App) kitRoutes() {
	a.Identity.Routes(a.API)
	(&history{a.Audit, a.Events, a.DB}).Routes(a.API)
	a.API.Handle("GET", "/metrics", access.Public, rest.REST, a.metrics.Handler())
	a.API.Handle("GET", "/healthz", access.Public, rest.REST, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	}))
	a.API.Handle("GET", "/readyz", access.Public, rest.REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.ready.Load() {
			rest.WriteProblem(w, r, problem.New(problem.Unavailable, "The server is starting or stopping; try again in a few seconds."))
			return
		}
		if err := a.DB.Ping(r.Context()); err != nil {
			rest.WriteProblem(w, r, problem.New(problem.Unavailable, "The database does not answer; the server's log says why.").Because(err))
			return
		}
		fmt.Fprintln(w, "ready")
	}))
	a.API.Fallback(webInterface())
}

// Run serves until ctx ends, then stops in order: no new requests, those in flight end, background work ends. started is
// called once the server says that it is ready; it answers what it can before.
func (a *App) Run(ctx context.Context, started func()) error {
	wrap, stopTraces, err := obs.Traces(ctx, Version)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", a.Config.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; name another address with --listen", a.Config.Listen, err)
	}
	a.URL = "http://" + reachable(l.Addr())
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	g, gctx := errgroup.WithContext(work)
	for _, f := range a.run {
		g.Go(func() error {
			err := f(gctx)
			if gctx.Err() != nil {
				return ignore(err, context.Canceled) // it was told to stop
			}
			return err
		})
	}
	if a.start != nil {
		if err := a.start(gctx); err != nil {
			stopWork()
			return errors.Join(err, l.Close(), g.Wait())
		}
	}
	handler := wrap(a.metrics.Measure(a.refusals.Watch(a.guardHost(l.Addr(), secure(mlflowapi.Guard(a.API))))))
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug), Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true) // gRPC comes to the same port
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	srv.BaseContext = func(net.Listener) context.Context { return requests }
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	g.Go(func() error {
		if a.settle != nil { // models that are loaded answer meanwhile
			if err := a.settle(gctx); err != nil && gctx.Err() == nil {
				a.Log.WarnContext(gctx, "a release is loaded a moment later", "error", err)
			}
		}
		if ctx.Err() != nil || gctx.Err() != nil {
			return nil // it was told to stop
		}
		a.ready.Store(true)
		if ctx.Err() != nil { // told to stop meanwhile
			a.ready.Store(false)
			return nil
		}
		if started != nil {
			started()
		}
		return nil
	})
	select {
	case <-ctx.Done():
	case <-gctx.Done(): // background work failed
	case err = <-served:
	}
	a.ready.Store(false)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Config.StopTimeout)
	defer cancel()
	time.AfterFunc(a.Config.StopTimeout/5, endRequests) // streams end, ordinary requests had their time
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	err = errors.Join(err, ignore(srv.Shutdown(stop), context.DeadlineExceeded))
	stopWork()
	return errors.Join(err, g.Wait(), stopTraces(stop))
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// Close releases what New opened.
func (a *App) Close() error {
	var errs []error
	for _, c := range a.closers {
		errs = append(errs, c())
	}
	if a.DB != nil {
		errs = append(errs, a.DB.Close())
	}
	if c, ok := a.Blobs.(io.Closer); ok {
		errs = append(errs, c.Close())
	}
	if a.lock != nil {
		errs = append(errs, a.lock.Close())
	}
	return errors.Join(errs...)
}

// guardHost refuses requests that name a foreign host: a page of somebody else's that made its name resolve to this
// machine would otherwise speak to the server with the visitor's rights (DNS rebinding).
func (a *App) guardHost(addr net.Addr, next http.Handler) http.Handler {
	own := map[string]bool{}
	for _, h := range a.Config.Hosts {
		own[strings.ToLower(h)] = true
	}
	tcp, _ := addr.(*net.TCPAddr)
	open := tcp != nil && !tcp.IP.IsLoopback() && len(own) == 0 // behind names we were not told
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		if open || own[host] || loopback(host) || tcp != nil && host == tcp.IP.String() {
			next.ServeHTTP(w, r)
			return
		}
		rest.WriteProblem(w, r, problem.New(problem.Forbidden, "This server does not answer to the name %q. If it should, add it to hosts in the configuration.", host).Suspect("foreign-host"))
	})
}

// secure sets the headers that keep pages of ours from being framed, sniffed or fed with foreign scripts.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["X-Content-Type-Options"] = nosniff
		h["X-Frame-Options"] = sameOrigin
		next.ServeHTTP(w, r)
	})
}

var nosniff, sameOrigin = []string{"nosniff"}, []string{"SAMEORIGIN"}

// Serve runs the program with a configuration until ctx ends, telling on out where it answers and, at the first start,
// how to get in.
func Serve(ctx context.Context, c Config, out, logTo io.Writer) error {
	debug.SetGCPercent(restPercent)
	a, err := New(ctx, c, logTo)
	if err != nil {
		return err
	}
	defer a.Close()
	a.run = append(a.run, collect)
	link, token, first := "", "", false
	if c.Auth == "on" {
		if link, token, first, err = a.Identity.First(ctx); err != nil {
			return err
		}
	}
	return a.Run(ctx, func() {
		fmt.Fprintf(out, "ready on %s\n", a.URL)
		if first {
			fmt.Fprintf(out, "\n  sign in   %s/?link=%s   (works once, for a day)\n\n  for programs:\n    export MLFLOW_TRACKING_URI=%s\n    export MLFLOW_TRACKING_TOKEN=%s\n    keelson login --server %s --token-stdin <<< $MLFLOW_TRACKING_TOKEN\n",
				a.URL, url.QueryEscape(link), a.URL, token, a.URL)
		}
	})
}

// reachable is a listener's address as a caller on this machine writes it: one that listens on every address is reached on loopback.
func reachable(at net.Addr) string {
	if t, ok := at.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(t.Port))
	}
	return at.String()
}

// page is the address of a page of the web interface, for people elsewhere.
func (a *App) page(path string) string {
	base := a.Config.PublicURL
	if base == "" {
		base = a.URL
	}
	return strings.TrimSuffix(base, "/") + path
}
