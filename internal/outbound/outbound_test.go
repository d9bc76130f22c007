package outbound

import (
	"net/netip"
	"strings"
	"testing"

	"keelson/internal/problem"
)

func TestAddressesThatAreCalled(t *testing.T) {
	rules, err := Parse([]string{"10.1.0.0/16", "127.0.0.5", "::1", "alerts.internal", "*.corp.example", "169.254.170.2"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, url, want string // want is part of the refusal; "" is none
	}{
		{"https to a name", "https://hooks.example.com/x?y=1", ""},
		{"https to a port", "https://hooks.example.com:8443", ""},
		{"https to a public address", "https://1.1.1.1/", ""},
		{"https to a public IPv6 address", "https://[2606:4700:4700::1111]/", ""},
		{"a dot at the end is no other name", "https://hooks.example.com./", ""},
		{"plain http to a name", "http://hooks.example.com/", "begins with http,"},
		{"plain http to an allowed name", "http://alerts.internal/", ""},
		{"plain http to an allowed address", "http://10.1.2.3:9000/", ""},
		{"plain http below an allowed name", "http://a.b.corp.example/", ""},
		{"a star does not allow the name itself", "http://corp.example/", "begins with http,"},
		{"a name that only ends alike", "http://evilcorp.example/", "begins with http,"},
		{"an allowed address in another spelling of IPv6", "https://[0:0:0:0:0:0:0:1]/", ""},
		{"a credential address allowed as itself", "http://169.254.170.2/", ""},
		{"file", "file:///etc/passwd", "cannot be read"},
		{"gopher", "gopher://127.0.0.1:6379/_x", `begins with "gopher"`},
		{"no scheme", "hooks.example.com/x", "cannot be read"},
		{"only a path", "//hooks.example.com/x", `begins with ""`},
		{"an opaque address", "https:hooks.example.com", "cannot be read"},
		{"empty", "", "is empty"},
		{"loopback", "https://127.0.0.1/", "not public"},
		{"another loopback", "https://127.9.9.9/", "not public"},
		{"private", "https://192.168.1.1/", "not public"},
		{"carrier", "https://100.64.0.1/", "not public"},
		{"the instance's metadata", "https://169.254.169.254/latest/meta-data", "not public"},
		{"a cloud's host agent", "https://168.63.129.16/", "not public"},
		{"this network", "https://0.0.0.0/", "not public"},
		{"broadcast", "https://255.255.255.255/", "not public"},
		{"multicast", "https://224.0.0.1/", "not public"},
		{"IPv6 loopback not allowed elsewhere", "https://[::2]/", "not public"},
		{"IPv6 unspecified", "https://[::]/", "not public"},
		{"IPv6 link-local", "https://[fe80::1]/", "not public"},
		{"IPv6 zone", "https://[fe80::1%25eth0]/", "interface"},
		{"IPv6 private", "https://[fd00:ec2::254]/", "not public"},
		{"IPv6 multicast", "https://[ff02::1]/", "not public"},
		{"IPv4 in IPv6", "https://[::ffff:127.0.0.1]/", "not public"},
		{"IPv4 in IPv6, in hexadecimal", "https://[::ffff:7f00:1]/", "not public"},
		{"IPv4-compatible", "https://[::127.0.0.1]/", "not public"},
		{"NAT64 of loopback", "https://[64:ff9b::7f00:1]/", "not public"},
		{"NAT64 of a public address", "https://[64:ff9b::101:101]/", ""},
		{"6to4 of loopback", "https://[2002:7f00:1::]/", "not public"},
		{"Teredo", "https://[2001:0:7f00:1::]/", "not public"},
		{"decimal", "https://2130706433/", "four decimal numbers"},
		{"hexadecimal", "https://0x7f000001/", "four decimal numbers"},
		{"hexadecimal parts", "https://0x7f.0x0.0x0.0x1/", "four decimal numbers"},
		{"octal", "https://0177.0.0.1/", "four decimal numbers"},
		{"short", "https://127.1/", "four decimal numbers"},
		{"nothing after 0x", "https://127.0.0.0x/", "four decimal numbers"},
		{"too large", "https://256.256.256.256/", "four decimal numbers"},
		{"wide digits", "https://１２７.０.０.１/", "not ASCII"},
		{"a wide dot", "https://127。0。0。1/", "not ASCII"},
		{"percent-encoded host", "https://%31%32%37.0.0.1/", "cannot be read"},
		{"userinfo", "https://hooks.example.com@127.0.0.1/", "before @"},
		{"userinfo with a password", "https://a:b@hooks.example.com/", "before @"},
		{"an empty userinfo", "https://@hooks.example.com/", "before @"},
		{"backslash", `https://hooks.example.com\@127.0.0.1/`, "backslash"},
		{"fragment", "https://hooks.example.com/#@127.0.0.1", "after #"},
		{"an empty fragment", "https://hooks.example.com/#", "after #"},
		{"a tab", "https://hooks.exam\tple.com/", "holds a space"},
		{"a line break", "https://hooks.example.com/\r\nX: y", "holds a space"},
		{"port 0", "https://hooks.example.com:0/", "ports are 1 to 65535"},
		{"a port beyond", "https://hooks.example.com:65536/", "ports are 1 to 65535"},
		{"a colon alone", "https://hooks.example.com:/", "colon without a port"},
		{"an empty label", "https://hooks..example.com/", "between two dots"},
		{"very long", "https://hooks.example.com/" + strings.Repeat("a", maxURL), "longer than"},
	} {
		err := rules.Check(c.url)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %s is refused: %v", c.name, c.url, err)
		case c.want != "" && (!problem.Is(err, problem.Invalid) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %s gives %v, want a refusal with %q", c.name, c.url, err, c.want)
		}
		if p, ok := problem.As(err); ok && p.Field != "url" {
			t.Errorf("%s: the field is %q", c.name, p.Field)
		}
	}
}

func TestWhatANameMayResolveTo(t *testing.T) {
	rules, err := Parse([]string{"alerts.internal", "10.1.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host, addr string
		want       bool
	}{
		{"hooks.example.com", "93.184.215.14", true},
		{"hooks.example.com", "10.0.0.1", false},
		{"hooks.example.com", "10.1.0.1", true},
		{"hooks.example.com", "::ffff:10.1.0.1", true},
		{"hooks.example.com", "::ffff:10.2.0.1", false},
		{"alerts.internal", "10.0.0.1", true},
		{"alerts.internal", "127.0.0.1", true},
		{"alerts.internal", "169.254.169.254", false},
		{"alerts.internal", "::ffff:169.254.169.254", false},
		{"alerts.internal", "64:ff9b::a9fe:a9fe", false},
		{"alerts.internal", "fd00:ec2::254", false},
		{"alerts.internal", "fe80::1", false},
	} {
		if got := rules.allows(c.host, netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s at %s: %v", c.host, c.addr, got)
		}
	}
}

func TestRulesThatCannotBeRead(t *testing.T) {
	for _, s := range []string{"", "10.0.0.0/40", "*", "*internal", ".internal", "http://x", "a b", "127.1", "fe80::1%eth0", "::ffff:10.0.0.0/104", "*."} {
		if r, err := Parse([]string{s}); err == nil {
			t.Errorf("%q is read as %+v", s, r)
		}
	}
}

// FuzzRead holds that nothing is accepted whose host the standard library would connect to at an address inside.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"https://hooks.example.com/x", "https://127.0.0.1", "https://[::ffff:7f00:1]:443/", "https://0x7f.1/", "https://a@b/", "http://10.0.0.1:80", "https://%31.1.1.1", "https://a.:1/?#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Rules{}.read(s)
		if err != nil {
			if !problem.Is(err, problem.Invalid) {
				t.Fatalf("%q: %v is no refusal", s, err)
			}
			return
		}
		if got.url.Scheme != "https" || got.url.User != nil {
			t.Fatalf("%q is accepted", s)
		}
		if a, err := netip.ParseAddr(strings.TrimSuffix(got.url.Hostname(), ".")); err == nil && !Public(a) {
			t.Fatalf("%q goes to %s", s, a)
		}
	})
}
