// Package postgres starts a private PostgreSQL server on loopback for tests and benchmarks, out of the system's package.
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Start runs a server with a folder of its own, which is removed by end, and gives its connection string. A durable one
// keeps the server's defaults (every commit reaches the disk before it is answered) and is always a new one; else nothing
// is synced and KEELSON_TEST_POSTGRES may name a server to use instead.
func Start(ctx context.Context, durable bool) (dsn string, end func(), err error) {
	if dsn := os.Getenv("KEELSON_TEST_POSTGRES"); dsn != "" && !durable {
		return dsn, func() {}, nil
	}
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if p, err := exec.LookPath("initdb"); err == nil {
		bins = append(bins, filepath.Dir(p))
	}
	if len(bins) == 0 {
		return "", nil, errors.New("no server is installed (Debian: apt-get install postgresql)")
	}
	bin := bins[len(bins)-1]
	dir, err := os.MkdirTemp("", "keelson-postgres-")
	if err != nil {
		return "", nil, err
	}
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	var cred *syscall.Credential
	if os.Geteuid() == 0 { // the server refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return "", nil, errors.New("as root the server needs the account postgres")
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			return "", nil, err
		}
	}
	do := func(ctx context.Context, name string, args ...string) error {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: cred}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if name == "pg_ctl" { // the server inherits what it writes to
			cmd.Stdout, cmd.Stderr = nil, nil
		}
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out.String())
		}
		return nil
	}
	data := filepath.Join(dir, "data")
	remove := func() { os.RemoveAll(dir) }
	if err := do(ctx, "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"); err != nil {
		remove()
		return "", nil, err
	}
	opts := fmt.Sprintf("-p %d -k %s -c listen_addresses=127.0.0.1 -c max_connections=400", port, dir)
	if !durable {
		opts += " -c fsync=off -c synchronous_commit=off"
	}
	if err := do(ctx, "pg_ctl", "-D", data, "-o", opts, "-l", filepath.Join(dir, "log"), "-w", "start"); err != nil {
		remove()
		return "", nil, err
	}
	end = func() {
		_ = do(context.WithoutCancel(ctx), "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
		remove()
	}
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port), end, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
