package runtime

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"keelson/internal/problem"
)

// DefaultIndex is where pip looks when nothing is configured.
const DefaultIndex = "https://pypi.org/simple"

// Index is where packages come from.
type Index struct {
	URLs    []string // of simple indexes, in the order in which they are asked
	Folders []string // with wheels, looked into first
	Roots   string   // file of certificates to trust beside the system's; empty: none
}

// FromPip gives the index that pip is configured for: by its environment variables (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL,
// PIP_FIND_LINKS, PIP_NO_INDEX, PIP_CERT, PIP_CONFIG_FILE) and its configuration files, where a variable wins.
func FromPip(env func(string) string) Index {
	settings := map[string]string{}
	for _, file := range pipFiles(env) {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // pip passes over files that are not there, too
		}
		readPip(b, settings)
	}
	for key, variable := range map[string]string{"index-url": "PIP_INDEX_URL", "extra-index-url": "PIP_EXTRA_INDEX_URL", "find-links": "PIP_FIND_LINKS", "no-index": "PIP_NO_INDEX", "cert": "PIP_CERT"} {
		if v := env(variable); v != "" {
			settings[key] = v
		}
	}
	x := Index{Roots: settings["cert"]}
	for _, l := range strings.Fields(settings["find-links"]) {
		if l = strings.TrimPrefix(l, "file://"); !strings.Contains(l, "://") {
			x.Folders = append(x.Folders, l)
		}
	}
	switch strings.ToLower(settings["no-index"]) {
	case "1", "true", "yes", "on", "y", "t":
		return x
	}
	if settings["index-url"] == "" {
		settings["index-url"] = DefaultIndex
	}
	x.URLs = append(strings.Fields(settings["index-url"]), strings.Fields(settings["extra-index-url"])...)
	return x
}

// pipFiles lists pip's configuration files, the weakest first.
func pipFiles(env func(string) string) (files []string) {
	if env("PIP_CONFIG_FILE") == os.DevNull {
		return nil
	}
	files = append(files, "/etc/pip.conf")
	if home := env("HOME"); home != "" {
		config := env("XDG_CONFIG_HOME")
		if config == "" {
			config = filepath.Join(home, ".config")
		}
		files = append(files, filepath.Join(home, ".pip", "pip.conf"), filepath.Join(config, "pip", "pip.conf"), filepath.Join(home, "Library", "Application Support", "pip", "pip.conf"))
	}
	if v := env("VIRTUAL_ENV"); v != "" {
		files = append(files, filepath.Join(v, "pip.conf"))
	}
	if f := env("PIP_CONFIG_FILE"); f != "" {
		files = append(files, f)
	}
	return files
}

// readPip takes the settings of the sections that concern installing out of a pip.conf; lines that begin with a space go on.
func readPip(b []byte, settings map[string]string) {
	section, key := "", ""
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		raw := lines.Text()
		line := strings.TrimSpace(raw)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section, key = strings.Trim(line, "[]"), ""
		case section != "global" && section != "install" && section != "download":
		case raw[0] == ' ' || raw[0] == '\t':
			if key != "" {
				settings[key] = strings.TrimSpace(settings[key] + " " + line)
			}
		default:
			name, value, ok := strings.Cut(line, "=")
			if !ok {
				name, value, ok = strings.Cut(line, ":")
			}
			if key = ""; ok {
				key = strings.ReplaceAll(strings.TrimSpace(strings.ToLower(name)), "_", "-")
				settings[key] = strings.TrimSpace(value)
			}
		}
	}
}

// wheelFile gives the wheel of a package as an open file: the given one, one of a configured folder, or a download.
func (s *Store) wheelFile(ctx context.Context, p Package, w Wheel, o Options) (f *os.File, done func(), err error) {
	shut := func() { f.Close() }
	if o.From != "" {
		st, err := os.Stat(o.From)
		if err == nil && st.IsDir() {
			o.From = filepath.Join(o.From, w.File)
		}
		if f, err = os.Open(o.From); err != nil {
			return nil, nil, problem.New(problem.NotFound, "%s cannot be opened; this machine needs the file %s.", o.From, w.File).Because(err)
		}
		return f, shut, nil
	}
	x := o.Index
	if len(x.URLs)+len(x.Folders) == 0 {
		x = FromPip(os.Getenv)
	}
	for _, folder := range x.Folders {
		if f, err = os.Open(filepath.Join(folder, w.File)); err == nil {
			if checkWheel(f, w) == nil {
				return f, shut, nil
			}
			f.Close()
		}
	}
	if len(x.URLs) == 0 {
		return nil, nil, problem.New(problem.Unavailable, "pip is configured to use no index; fetch %s elsewhere and name it: --from FILE.", w.File)
	}
	client, err := x.client()
	if err != nil {
		return nil, nil, err
	}
	f, err = os.CreateTemp(s.Root, "."+p.Name+"-*.whl")
	if err != nil {
		return nil, nil, fmt.Errorf("make a file: %w", err)
	}
	done = func() { f.Close(); os.Remove(f.Name()) }
	var failures []error
	for _, index := range x.URLs {
		err := download(ctx, client, index, p, w, f, o.Progress)
		if err == nil {
			return f, done, nil
		}
		if ctx.Err() != nil {
			done()
			return nil, nil, ctx.Err()
		}
		failures = append(failures, err)
		if err := errors.Join(f.Truncate(0), rewind(f)); err != nil {
			failures = append(failures, err)
			break
		}
	}
	done()
	return nil, nil, problem.New(problem.Unavailable, "%s could not be fetched: %v. Without a network: fetch it elsewhere and name it with --from FILE.", w.File, errors.Join(failures...)).Because(errors.Join(failures...))
}

func rewind(f *os.File) error { _, err := f.Seek(0, io.SeekStart); return err }

// client calls the index; it goes through the proxy of the environment.
func (x Index) client() (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if x.Roots != "" {
		pem, err := os.ReadFile(x.Roots)
		if err != nil {
			return nil, problem.New(problem.Invalid, "pip's certificates cannot be read: %s.", x.Roots).Because(err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM(pem)
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	t.ResponseHeaderTimeout = time.Minute
	return &http.Client{Transport: t, Timeout: time.Hour}, nil
}

var links = regexp.MustCompile(`(?i)<a\s[^>]*?href\s*=\s*["']([^"']+)["']`)

// download writes the wheel of an index into f. Its bytes are checked by the caller.
func download(ctx context.Context, client *http.Client, index string, p Package, w Wheel, f *os.File, progress func(done, total int64)) error {
	base, err := url.Parse(strings.TrimRight(index, "/") + "/" + p.Name + "/")
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return fmt.Errorf("the index address is not one of https or http")
	}
	page, at, err := get(ctx, client, base)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(page, 16<<20))
	page.Close()
	if err != nil {
		return fmt.Errorf("read %s: %w", base.Redacted(), err)
	}
	var from *url.URL
	for _, m := range links.FindAllSubmatch(text, -1) {
		u, err := at.Parse(html.UnescapeString(string(m[1])))
		if err == nil && path.Base(u.Path) == w.File {
			from = u
			break
		}
	}
	if from == nil {
		return fmt.Errorf("%s does not list %s", base.Redacted(), w.File)
	}
	if from.Host == base.Host && from.Scheme == base.Scheme && from.User == nil { // not in clear what was meant to be encrypted
		from.User = base.User
	}
	from.Fragment = ""
	body, _, err := get(ctx, client, from)
	if err != nil {
		return err
	}
	defer body.Close()
	total := int64(0)
	b := make([]byte, 256<<10)
	for {
		n, err := body.Read(b)
		if total += int64(n); total > w.Size {
			return fmt.Errorf("%s is larger than the %d bytes that were published", from.Redacted(), w.Size)
		}
		if _, err := f.Write(b[:n]); err != nil {
			return fmt.Errorf("write the wheel: %w", err)
		}
		if progress != nil {
			progress(total, w.Size)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", from.Redacted(), plain(err))
		}
	}
}

// get gives the body of an address and where it came from in the end.
func get(ctx context.Context, client *http.Client, u *url.URL) (io.ReadCloser, *url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", u.Redacted(), plain(err))
	}
	req.Header.Set("User-Agent", "keelson")
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", u.Redacted(), plain(err))
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, nil, fmt.Errorf("%s answers %s", u.Redacted(), resp.Status)
	}
	return resp.Body, resp.Request.URL, nil
}

// plain takes the address, which may hold a password, out of an error of the client.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
