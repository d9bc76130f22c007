package inventory

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// Used is a version that something was made of, or that needs it.
type Used struct {
	Model     string    `json:"model"`
	Version   int       `json:"version"`
	State     string    `json:"state"`
	Tier      int       `json:"tier"`
	Owner     string    `json:"owner"`
	Why       string    `json:"why" doc:"in words, such as: library numpy 2.4.6"`
	Deployed  []string  `json:"deployed" doc:"environments where it answers calls"`
	CreatedAt time.Time `json:"created_at"`
}

// Impact lists what is touched when a data set, a model or a library is.
type Impact struct {
	Kind        string       `json:"kind" enum:"data,model,library"`
	Name        string       `json:"name"`
	Version     string       `json:"version,omitempty"`
	Versions    []Used       `json:"versions" doc:"the newest first"`
	Models      []string     `json:"models"`
	Deployments []LiveImpact `json:"deployments"`
	Truncated   bool         `json:"truncated" doc:"there are more versions than are listed"`
}

// LiveImpact is a version that answers calls now.
type LiveImpact struct {
	Environment string `json:"environment"`
	Model       string `json:"model"`
	Version     int    `json:"version"`
}

// maxImpact bounds the versions of one answer.
const maxImpact = 1000

// ImpactOf finds the versions made of, or needing, a thing of kind data, model or library; version "" means any version
// of it. Of a model, its own versions are part of the list, because what calls them is touched first.
func (s *Service) ImpactOf(ctx context.Context, kind, name, version string) (Impact, error) {
	out := Impact{Kind: kind, Name: name, Version: version, Versions: []Used{}, Models: []string{}, Deployments: []LiveImpact{}}
	if name == "" {
		return out, problem.New(problem.Invalid, "Say what to look for: ?data=NAME[@VERSION], ?model=NAME[/VERSION] or ?library=NAME[@VERSION].")
	}
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		out.Versions = []Used{}
		pattern := "%" + likely.Replace(strings.Trim(db.ToJSON(name), `"`)) + "%"
		return tx.Each(`SELECT v.model, v.version, v.state, v.dependencies, v.created_at, m.tier, m.owner FROM model_version v JOIN model m ON m.workspace = v.workspace AND m.name = v.model
			WHERE v.workspace = $1 AND (lower(v.dependencies) LIKE lower($2) ESCAPE '\' OR v.model = $3) ORDER BY v.created_at DESC, v.model, v.version DESC`, []any{tx.Workspace, pattern, name}, func(scan func(...any) error) error {
			var u Used
			var dependencies string
			var created int64
			if err := scan(&u.Model, &u.Version, &u.State, &dependencies, &created, &u.Tier, &u.Owner); err != nil {
				return err
			}
			if len(out.Versions) == maxImpact {
				out.Truncated = true
				return nil
			}
			var list []Dependency
			if err := db.FromJSON(dependencies, &list); err != nil {
				return err
			}
			if u.Why = why(u, list, kind, name, version); u.Why == "" {
				return nil
			}
			u.CreatedAt, u.Deployed = db.Time(created), []string{}
			out.Versions = append(out.Versions, u)
			return nil
		})
	})
	if err != nil || s.Runtime == nil {
		return out.sorted(), err
	}
	live, err := s.Runtime.Live(ctx)
	if err != nil {
		return out, err
	}
	for i := range out.Versions {
		u := &out.Versions[i]
		for _, l := range live[u.Model] {
			if l.Version == u.Version && !slices.Contains(u.Deployed, l.Environment) {
				u.Deployed = append(u.Deployed, l.Environment)
				out.Deployments = append(out.Deployments, LiveImpact{l.Environment, u.Model, u.Version})
			}
		}
	}
	return out.sorted(), nil
}

var likely = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// why says in words how a version hangs on the thing, or "".
func why(u Used, list []Dependency, kind, name, version string) string {
	if kind == "model" && u.Model == name && (version == "" || version == strconv.Itoa(u.Version)) {
		return "is it"
	}
	for _, d := range list {
		if d.Kind == kind && (d.Name == name || kind == "library" && strings.EqualFold(d.Name, name)) && (version == "" || d.Version == version || d.Digest == version) {
			return strings.TrimSpace(kind + " " + d.Name + " " + d.Version)
		}
	}
	return ""
}

func (i Impact) sorted() Impact {
	for _, u := range i.Versions {
		if !slices.Contains(i.Models, u.Model) {
			i.Models = append(i.Models, u.Model)
		}
	}
	slices.Sort(i.Models)
	slices.SortFunc(i.Deployments, func(a, b LiveImpact) int {
		return strings.Compare(a.Environment+"/"+a.Model, b.Environment+"/"+b.Model)
	})
	return i
}
