// Package identity says who asks: accounts of people and services, sessions of browsers, tokens of programs.
//
// Passwords are kept as argon2id, tokens as SHA-256; a token is shown once, when it is made. What an account may do is
// granted per workspace by roles (package access). With sign-in off, which is possible on loopback only, everybody is
// "local", who may do everything but vote.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"keelson/internal/access"
	"keelson/internal/caller"
	"keelson/internal/problem"
)

// User is an account as others see it.
type User struct {
	Name      string    `json:"name"`
	Display   string    `json:"display"`
	Email     string    `json:"email"`
	Kind      string    `json:"kind" enum:"person,service"`
	Roles     []string  `json:"roles"` // in the workspace of the request
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"created_at"`
}

// Token is a program's way in; its text is shown once.
type Token struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Owner      string     `json:"owner"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	Token      string     `json:"token,omitempty"`
}

// Me is what somebody needs to know about themselves.
type Me struct {
	Name        string   `json:"name"`
	Display     string   `json:"display"`
	Kind        string   `json:"kind"`
	Roles       []string `json:"roles"`
	Workspace   string   `json:"workspace"`
	Workspaces  []string `json:"workspaces"`
	Permissions []string `json:"permissions"`
	Auth        string   `json:"auth" enum:"on,off"`
	// Handled is what others did to the way in of this account in the last 90 days, newest first.
	Handled []Handled `json:"handled,omitempty" doc:"passwords and sign-in links of yours that others made, the last 90 days"`
}

const (
	tokenPrefix = "kst_"
	minPassword = 10
)

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func checkName(name string) error {
	if !namePattern.MatchString(name) || name == "local" || name == "system" {
		return problem.New(problem.Invalid, "%q is no name for an account; use lower-case letters, digits, '.', '_' and '-', at most 63 characters.", name).At("name")
	}
	return nil
}

func checkRoles(roles []string) error {
	for i, r := range roles {
		if !access.Known(r) {
			return problem.New(problem.Invalid, "There is no role %q; GET /api/v1/roles lists them.", r).At(fmt.Sprintf("roles[%d]", i))
		}
	}
	return nil
}

func checkPassword(p string) error {
	if len(p) < minPassword || len(p) > 1000 {
		return problem.New(problem.Invalid, "A password has at least %d characters.", minPassword).At("password")
	}
	return nil
}

// argon2id with the second recommended parameter set of OWASP: 19 MiB, two passes, one lane.
const (
	argonTime, argonMemory, argonLanes = 2, 19 * 1024, 1
	argonSalt, argonKey                = 16, 32
)

// hashPassword gives the PHC string of a password.
func hashPassword(password string) string {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt)
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, argonKey)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", argonMemory, argonTime, argonLanes, enc.EncodeToString(salt), enc.EncodeToString(key))
}

// checkHash reports whether a password has the PHC string phc; an empty phc costs as much time and is never right.
func checkHash(phc, password string) bool {
	none := phc == ""
	if none {
		phc = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	}
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	var m, t uint32
	var p uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &m, &t, &p); err != nil || m > 1<<20 || t > 16 || p == 0 {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || err2 != nil || len(want) == 0 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, t, m, p, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1 && !none
}

// newSecret makes the text of a token and what is stored of it.
func newSecret(prefix string) (text, hash string) {
	b := make([]byte, 30)
	_, _ = rand.Read(b)
	text = prefix + base64.RawURLEncoding.EncodeToString(b)
	return text, hashToken(text)
}

func hashToken(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Nobody signed in: with sign-in off this is who asks.
var local = caller.Caller{ID: "local", Name: "local", Kind: caller.Person, Roles: []string{access.Local}}
