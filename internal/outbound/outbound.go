// Package outbound calls addresses that users gave: webhooks, alert routes, models served elsewhere.
//
// Such an address is a way into the network the server stands in, so it goes nowhere but where everybody could go
// anyway, unless the operator allowed it:
//
//   - https to public addresses; http, and anything inside (loopback, private, link-local, carrier, multicast, reserved),
//     only for what the configuration allows;
//   - a name is resolved once per connection, every address it has is checked, and the connection goes to an address that
//     was checked, so that a name which resolves otherwise a moment later gains nothing;
//   - a redirect is an answer, never followed; proxies of the environment are not asked;
//   - addresses are read in one spelling: no userinfo, no decimal, octal or hexadecimal numbers as hosts, no zones;
//   - the call ends after a time, and what is read of the answer is bounded.
package outbound

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/problem"
)

// maxURL bounds an address, in bytes.
const maxURL = 2048

// inside are IPv4 networks that are not public (the registry of special-purpose addresses, RFC 6890 and after), and the
// address of one cloud's host agent, which looks public.
var inside = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32")

// Of IPv6 only the global unicast block is public, without what stands for something else: protocol assignments with
// Teredo, documentation, 6to4.
var (
	global6  = netip.MustParsePrefix("2000::/3")
	inside6  = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
	nat64    = netip.MustParsePrefix("64:ff9b::/96") // holds an IPv4 address in its last 32 bits
	metadata = prefixes("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// plain is an address as it will be used: an IPv4 address written as an IPv6 one is the IPv4 address.
func plain(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// Public reports whether a is an address that anybody could reach.
func Public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	a = plain(a)
	if a.Is4() {
		return !within(inside, a)
	}
	return global6.Contains(a) && !within(inside6, a)
}

// Rules are what the operator allows beyond public addresses over https.
type Rules struct {
	networks []netip.Prefix
	hosts    []string // in small letters; ".example.com" is every name below example.com
}

// Parse reads the rules: addresses ("127.0.0.1"), networks ("10.0.0.0/8"), host names ("alerts.internal") and names with
// everything below them ("*.internal"). A name that is allowed may resolve to any address but those where clouds keep
// their instances' credentials (169.254.0.0/16 and others): such an address has to be allowed as itself.
func Parse(list []string) (Rules, error) {
	var r Rules
	for _, s := range list {
		s = strings.ToLower(strings.TrimSpace(s))
		if p, err := netip.ParsePrefix(s); err == nil {
			if p.Addr().Is4In6() {
				return r, fmt.Errorf("%q: write an IPv4 network as such", s)
			}
			r.networks = append(r.networks, p.Masked())
			continue
		}
		if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && a.Zone() == "" {
			a = a.Unmap()
			r.networks = append(r.networks, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		name := strings.TrimPrefix(s, "*")
		if err := checkName(strings.TrimPrefix(name, ".")); err != nil || strings.HasPrefix(name, ".") != strings.HasPrefix(s, "*") {
			return r, fmt.Errorf("%q is neither an address, a network (10.0.0.0/8), a host name nor a name with a star in front (*.internal)", s)
		}
		r.hosts = append(r.hosts, name)
	}
	return r, nil
}

func (r Rules) names(host string) bool {
	return slices.ContainsFunc(r.hosts, func(h string) bool { return h == host || h[0] == '.' && strings.HasSuffix(host, h) })
}

// listed reports whether the configuration allows the address as itself.
func (r Rules) listed(a netip.Addr) bool { return a.Zone() == "" && within(r.networks, plain(a)) }

// allows decides about one address of a host.
func (r Rules) allows(host string, a netip.Addr) bool {
	if Public(a) || r.listed(a) {
		return true
	}
	return a.Zone() == "" && r.names(host) && !within(metadata, plain(a))
}

// target is an address that was read.
type target struct {
	url  *url.URL
	host string     // in small letters, without the dot at the end
	addr netip.Addr // of a host written as an address
	port string
}

// Origin is the part of an address that may be shown and logged: its scheme and host, without path, query and password;
// "" for what is no address.
func Origin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Check refuses an address that would never be called, without looking up its name.
func (r Rules) Check(address string) error {
	_, err := r.read(address)
	return err
}

// read takes an address apart. field is "url" in its problems, because that is what callers call it.
func (r Rules) read(address string) (t target, err error) {
	bad := func(format string, a ...any) error {
		return problem.New(problem.Invalid, "The address "+format, a...).At("url")
	}
	switch {
	case address == "":
		return t, bad("is empty; give https://HOST/PATH.")
	case len(address) > maxURL:
		return t, bad("is longer than %d bytes.", maxURL)
	}
	for _, c := range address {
		if c <= ' ' || c == '\\' || c > '~' {
			return t, bad("holds a space, a backslash or a character that is not ASCII; write it percent-encoded, and a name as punycode.")
		}
	}
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" || u.Host == "" {
		return t, bad("cannot be read; give https://HOST/PATH.")
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return t, bad("begins with %q; use https.", u.Scheme)
	}
	if u.User != nil {
		return t, bad("holds a user's name or password before @; leave them out.")
	}
	if u.Fragment != "" || strings.Contains(address, "#") {
		return t, bad("has a part after #, which no server is sent; leave it out.")
	}
	t.url, t.port = u, u.Port()
	if t.port == "" {
		t.port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		if strings.HasSuffix(u.Host, ":") {
			return t, bad("has a colon without a port.")
		}
	}
	if n, err := strconv.Atoi(t.port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != t.port {
		return t, bad("names the port %q; ports are 1 to 65535.", t.port)
	}
	t.host = strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	switch addr, err := netip.ParseAddr(t.host); {
	case err == nil && addr.Zone() != "":
		return t, bad("names a network interface after %%; leave it out.")
	case err == nil:
		t.addr = addr
		if !r.allows(t.host, addr) {
			return t, refused("The address")
		}
	case strings.Contains(t.host, ":"):
		return t, bad("has a host that cannot be read.")
	default:
		if err := checkName(t.host); err != nil {
			return t, bad("has a host that cannot be used: %s.", err)
		}
	}
	if u.Scheme == "http" && !r.names(t.host) && !(t.addr.IsValid() && r.listed(t.addr)) {
		return t, bad("begins with http, which anybody on the way can read and change; use https, or have an administrator add the host to outbound_allow.")
	}
	return t, nil
}

func refused(what string) error {
	return problem.New(problem.Invalid, "%s lies inside a network that is not public, where this server calls nobody. If it should, an administrator adds the host or its network to outbound_allow.", what).At("url").Suspect("foreign-address")
}

// checkName refuses what is no name of a host, above all numbers that some resolvers read as an address: 2130706433,
// 0x7f.1, 127.1 and 0177.0.0.1 are all the loopback address to inet_aton.
func checkName(host string) error {
	if host == "" || len(host) > 253 {
		return fmt.Errorf("a name has 1 to 253 characters")
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 {
			return fmt.Errorf("a part between two dots has 1 to 63 characters")
		}
		for _, c := range l {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return fmt.Errorf("%q is not part of a name", string(c))
			}
		}
	}
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return fmt.Errorf("write an address as four decimal numbers without leading zeros, or as IPv6 in brackets")
	}
	return nil
}

// join is host:port of an address.
func join(a netip.Addr, port string) string { return net.JoinHostPort(a.String(), port) }
