package policy

import (
	"encoding/json"
	"errors"
	"fmt"

	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/seal"
)

// Domains of the seals.
const (
	policyDomain      = "keelson/policy/v1"
	environmentDomain = "keelson/environment/v1"
)

// sealedPolicy and sealedEnvironment are what is signed: the document and the place it belongs to.
type sealedPolicy struct {
	Workspace string `json:"workspace"`
	Policy    Policy `json:"policy"`
}

type sealedEnvironment struct {
	Workspace   string      `json:"workspace"`
	Environment Environment `json:"environment"`
}

// store is the SQL of policies and environments. Whatever it reads was verified.
type store struct{ key *seal.Key }

func (s store) insertPolicy(tx db.Scope, p Policy) error {
	doc, err := release.Canonical(sealedPolicy{tx.Workspace, p})
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO policy (workspace, name, version, doc, seal) VALUES ($1, $2, $3, $4, $5)",
		tx.Workspace, p.Name, p.Version, string(doc), s.key.Sign(policyDomain, doc))
	return err
}

func (s store) insertEnvironment(tx db.Scope, e Environment) error {
	doc, err := release.Canonical(sealedEnvironment{tx.Workspace, e})
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO environment (workspace, name, doc, seal) VALUES ($1, $2, $3, $4)",
		tx.Workspace, e.Name, string(doc), s.key.Sign(environmentDomain, doc))
	return err
}

func (s store) openPolicy(tx db.Scope, name string, version int, doc, signature string) (Policy, error) {
	var d sealedPolicy
	if err := s.key.Public().Verify(policyDomain, []byte(doc), signature); err != nil {
		return Policy{}, tampered("policy", name, err)
	}
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return Policy{}, tampered("policy", name, err)
	}
	if d.Workspace != tx.Workspace || d.Policy.Name != name || d.Policy.Version != version {
		return Policy{}, tampered("policy", name, errors.New("the row holds the document of another one"))
	}
	return d.Policy, nil
}

func tampered(kind, name string, cause error) error {
	return problem.New(problem.Conflict, "The %s %s was changed outside Keelson and is not obeyed; restore the database or save it again through the API.", kind, name).Because(cause)
}

// policy reads one version; version 0 is the newest.
func (s store) policy(tx db.Scope, name string, version int) (Policy, error) {
	var doc, signature string
	var v int
	err := tx.QueryRow(`SELECT version, doc, seal FROM policy WHERE workspace = $1 AND name = $2 AND (version = $3 OR $3 = 0)
		ORDER BY version DESC LIMIT 1`, tx.Workspace, name, version).Scan(&v, &doc, &signature)
	if errors.Is(err, db.ErrNoRows) {
		return Policy{}, problem.New(problem.NotFound, "There is no policy %s%s.", name, at(version))
	}
	if err != nil {
		return Policy{}, err
	}
	return s.openPolicy(tx, name, v, doc, signature)
}

func at(version int) string {
	if version == 0 {
		return ""
	}
	return fmt.Sprintf(" version %d", version)
}

// policies reads the newest version of each.
func (s store) policies(tx db.Scope) (out []Policy, err error) {
	type row struct {
		name, doc, seal string
		version         int
	}
	var rows []row
	err = tx.Each(`SELECT name, version, doc, seal FROM policy p WHERE workspace = $1
		AND version = (SELECT MAX(version) FROM policy q WHERE q.workspace = p.workspace AND q.name = p.name) ORDER BY name`,
		[]any{tx.Workspace}, func(scan func(...any) error) error {
			var r row
			err := scan(&r.name, &r.version, &r.doc, &r.seal)
			rows = append(rows, r)
			return err
		})
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		p, err := s.openPolicy(tx, r.name, r.version, r.doc, r.seal)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// environments reads all, in their order.
func (s store) environments(tx db.Scope, name string) (out []Environment, err error) {
	err = tx.Each("SELECT name, doc, seal FROM environment WHERE workspace = $1 AND (name = $2 OR $2 = '') ORDER BY name",
		[]any{tx.Workspace, name}, func(scan func(...any) error) error {
			var n, doc, signature string
			if err := scan(&n, &doc, &signature); err != nil {
				return err
			}
			var d sealedEnvironment
			if err := s.key.Public().Verify(environmentDomain, []byte(doc), signature); err != nil {
				return tampered("environment", n, err)
			}
			if err := json.Unmarshal([]byte(doc), &d); err != nil {
				return tampered("environment", n, err)
			}
			if d.Workspace != tx.Workspace || d.Environment.Name != n {
				return tampered("environment", n, errors.New("the row holds the document of another one"))
			}
			out = append(out, d.Environment)
			return nil
		})
	return out, err
}
