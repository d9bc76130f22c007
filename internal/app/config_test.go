package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keelson/internal/app"
)

func TestConfiguration(t *testing.T) {
	file := func(text string) string {
		f := filepath.Join(t.TempDir(), "keelson-server.yaml")
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, c := range []struct {
		name, file string
		env        []string
		set        map[string]string
		want       string // in the printed configuration, or in the error after "error: "
	}{
		{"the defaults hold", "", nil, nil, "listen: 127.0.0.1:5000"},
		{"a file is read", "listen: 127.0.0.1:1", nil, nil, "listen: 127.0.0.1:1"},
		{"the environment beats the file", "listen: 127.0.0.1:1", []string{"KEELSON_LISTEN=127.0.0.1:2"}, nil, "listen: 127.0.0.1:2"},
		{"a flag beats the environment", "", []string{"KEELSON_LISTEN=127.0.0.1:2"}, map[string]string{"listen": "127.0.0.1:3"}, "listen: 127.0.0.1:3"},
		{"sizes have units", "", []string{"KEELSON_MAX_INFER=2MiB"}, nil, "max_infer: 2097152"},
		{"an unknown field is named", "lisen: x", nil, nil, "error: lisen"},
		{"an unknown variable is named", "", []string{"KEELSON_LISEN=x"}, nil, "error: KEELSON_LISEN"},
		{"the client's variables are left alone", "", []string{"KEELSON_TOKEN=x"}, nil, "auth: \"on\""},
		{"sign-in may be off on loopback", "", nil, map[string]string{"auth": "off"}, "auth: \"off\""},
		{"links need a whole address", "", nil, map[string]string{"public_url": "keelson.example.com"}, "error: public_url:"},
		{"sign-in may not be off elsewhere", "", nil, map[string]string{"auth": "off", "listen": "0.0.0.0:5000"}, "error: auth: off is refused"},
		{"SQLite is for one process", "", nil, map[string]string{"parts": "api"}, "error: postgres"},
		{"a wrong part is named", "", nil, map[string]string{"parts": "api,cook"}, `error: "cook"`},
		{"a password is not printed", "", nil, map[string]string{"database": "postgres://u:secret@h/d"}, "u:hidden@h"},
		{"networks inside may be allowed", "", []string{"KEELSON_OUTBOUND_ALLOW=10.0.0.0/8, *.internal"}, nil, "- 10.0.0.0/8\n- \"*.internal\""},
		{"a rule for addresses is checked", "outbound_allow: ['*']", nil, nil, `error: outbound_allow: "*"`},
		{"a duration is checked", "", nil, map[string]string{"step_time": "soon"}, "error: --step-time"},
	} {
		f := ""
		if c.file != "" {
			f = file(c.file)
		}
		got, err := app.Load(f, c.env, c.set)
		text := got.String()
		if want, bad := strings.CutPrefix(c.want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v", c.name, err)
			}
			continue
		}
		if err != nil || !strings.Contains(text, c.want) || strings.Contains(text, "secret") {
			t.Errorf("%s: got %v\n%s", c.name, err, text)
		}
	}
}
