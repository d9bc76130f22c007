package mlflowapi

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/filter"
	"keelson/internal/problem"
	"keelson/internal/prompt"
)

// Tags by which MLflow tells prompts from models in one registry, and where it keeps their texts.
const (
	tagIsPrompt   = "mlflow.prompt.is_prompt"
	tagPromptText = "mlflow.prompt.text"
	tagPromptType = "_mlflow_prompt_type"
)

// promptSources are what clients send as the source of a prompt's version, which has none.
var promptSources = []string{"prompt-template", "dummy-source"}

func isPrompt(tags []pair) bool { return toMap(tags)[tagIsPrompt] == "true" }

type modelHandler = func(context.Context, *modelRequest) (any, error)

// either sends a call about a name to the handler of models or of prompts, whichever the name belongs to.
func (m *API) either(model, prompt modelHandler) modelHandler {
	return func(ctx context.Context, in *modelRequest) (any, error) {
		ok, err := m.Prompts.Has(ctx, in.Name)
		switch {
		case err != nil:
			return nil, err
		case ok:
			return prompt(ctx, in)
		}
		return model(ctx, in)
	}
}

// asked reports whether a search is one for prompts: its filter says so, else prompts stay hidden.
func asked(text string, g *filter.Grammar) (bool, error) {
	if !strings.Contains(text, tagIsPrompt) {
		return false, nil
	}
	clauses, err := filter.Parse(text, g)
	return slices.ContainsFunc(clauses, func(c filter.Clause) bool {
		return c.Entity == filter.Tag && c.Key == tagIsPrompt && c.Op == filter.Eq && c.Text == "true"
	}), err
}

var promptMark = map[string]string{tagIsPrompt: "true"}

func marked(tags map[string]string) []pair {
	all := maps.Clone(promptMark)
	maps.Copy(all, tags)
	return fromMap(all)
}

func fromPrompt(p prompt.Prompt, latest *prompt.Version) registeredModel {
	out := registeredModel{Name: p.Name, Created: ms(p.CreatedAt), Updated: ms(p.UpdatedAt), User: p.CreatedBy, Description: p.Description, Tags: marked(p.Tags)}
	for _, a := range sorted(p.Aliases) {
		out.Aliases = append(out.Aliases, modelAlias{a, strconv.Itoa(p.Aliases[a])})
	}
	if latest != nil {
		out.Latest = []modelVersion{fromPromptVersion(*latest)}
	}
	return out
}

func fromPromptVersion(v prompt.Version) modelVersion {
	tags := maps.Clone(v.Tags)
	tags[tagPromptText] = v.Template
	return modelVersion{Name: v.Prompt, Version: strconv.Itoa(v.Number), Created: ms(v.CreatedAt), Updated: ms(v.UpdatedAt), User: v.CreatedBy, Stage: stageNone,
		Description: v.Description, Source: promptSources[0], Status: "READY", Tags: marked(tags), Aliases: v.Aliases}
}

func answerPromptVersion(v prompt.Version, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"model_version": fromPromptVersion(v)}, nil
}

func (m *API) prompt(ctx context.Context, name string) (any, error) {
	p, err := m.Prompts.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	out, err := m.listed(ctx, p)
	return map[string]any{"registered_model": out}, err
}

// listed is a prompt with its newest version.
func (m *API) listed(ctx context.Context, p prompt.Prompt) (registeredModel, error) {
	if p.Latest == 0 {
		return fromPrompt(p, nil), nil
	}
	v, err := m.Prompts.Version(ctx, p.Name, p.Latest)
	if problem.Is(err, problem.NotFound) { // deleted meanwhile
		return fromPrompt(p, nil), nil
	}
	return fromPrompt(p, &v), err
}

// createEither makes a model, or a prompt when the tag says so.
func (m *API) createEither(ctx context.Context, in *modelRequest) (any, error) {
	if !isPrompt(in.Tags) {
		return m.createModel(ctx, in)
	}
	tags := toMap(in.Tags)
	delete(tags, tagIsPrompt)
	if _, err := m.Prompts.Create(ctx, prompt.Prompt{Name: in.Name, Description: plain(in.Description), Tags: tags}); err != nil {
		return nil, taken(err)
	}
	return m.prompt(ctx, in.Name)
}

func (m *API) renamePrompt(_ context.Context, in *modelRequest) (any, error) {
	return nil, problem.New(problem.Invalid, "Prompt %s cannot be renamed; register it under the other name.", in.Name).At("name")
}

func (m *API) updatePrompt(ctx context.Context, in *modelRequest) (any, error) {
	if in.Description != nil {
		if _, err := m.Prompts.Change(ctx, in.Name, func(p *prompt.Prompt) error { p.Description = *in.Description; return nil }); err != nil {
			return nil, err
		}
	}
	return m.prompt(ctx, in.Name)
}

func (m *API) deletePrompt(ctx context.Context, in *modelRequest) (any, error) {
	return none{}, m.Prompts.Delete(ctx, in.Name)
}

func (m *API) getPrompt(ctx context.Context, in *modelRequest) (any, error) {
	return m.prompt(ctx, in.Name)
}

// searchEither finds prompts if the filter names their tag, else models.
func (m *API) searchEither(ctx context.Context, in *searchRequest) (any, error) {
	yes, err := asked(in.Filter, filter.Models)
	if err != nil {
		return nil, err
	}
	if !yes {
		return m.searchModels(ctx, in)
	}
	limit, err := limited(integer(in.Max), 100, 1000)
	if err != nil {
		return nil, err
	}
	list, next, err := m.Prompts.Search(ctx, filter.Query{Filter: in.Filter, Order: in.Order, Limit: limit, Token: in.Token}, promptMark)
	if err != nil {
		return nil, err
	}
	out := struct {
		Models []registeredModel `json:"registered_models,omitempty"`
		Next   string            `json:"next_page_token,omitempty"`
	}{Next: next}
	for _, p := range list {
		r, err := m.listed(ctx, p)
		if err != nil {
			return nil, err
		}
		out.Models = append(out.Models, r)
	}
	return out, nil
}

func (m *API) latestPrompt(ctx context.Context, in *modelRequest) (any, error) {
	p, err := m.Prompts.Get(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	r, err := m.listed(ctx, p)
	if err != nil || len(r.Latest) == 0 || len(in.Stages) > 0 && !slices.ContainsFunc(in.Stages, func(s string) bool { return strings.EqualFold(s, stageNone) }) {
		return struct{}{}, err
	}
	return map[string]any{"model_versions": r.Latest}, nil
}

// fixed refuses to touch the tags that make a prompt and its text.
func fixed(key string) error {
	if key == tagIsPrompt || key == tagPromptText || key == tagPromptType {
		return problem.New(problem.Invalid, "The tag %s is the prompt itself and does not change; register a new version.", key).At("key")
	}
	return nil
}

func (m *API) setPromptTag(ctx context.Context, in *modelRequest) (any, error) {
	if in.Key == tagIsPrompt && in.Value == "true" {
		return none{}, nil
	}
	if err := fixed(in.Key); err != nil {
		return nil, err
	}
	_, err := m.Prompts.Change(ctx, in.Name, func(p *prompt.Prompt) error { p.Tags[in.Key] = in.Value; return nil })
	return none{}, err
}

func (m *API) deletePromptTag(ctx context.Context, in *modelRequest) (any, error) {
	if err := fixed(in.Key); err != nil {
		return nil, err
	}
	_, err := m.Prompts.Change(ctx, in.Name, func(p *prompt.Prompt) error { delete(p.Tags, in.Key); return nil })
	return none{}, err
}

// setModelTagOnly is setModelTag without the tag that would make a prompt of a model.
func (m *API) setModelTagOnly(ctx context.Context, in *modelRequest) (any, error) {
	if in.Key == tagIsPrompt && in.Value == "true" {
		return nil, problem.New(problem.Invalid, "%s is a registered model; it cannot become a prompt.", problem.Clip(in.Name, 100)).At("key")
	}
	return m.setModelTag(ctx, in)
}

func (m *API) setPromptAlias(ctx context.Context, in *modelRequest) (any, error) {
	n, err := versionNumber(string(in.Version))
	if err != nil {
		return nil, err
	}
	return none{}, m.Prompts.SetAlias(ctx, in.Name, in.Alias, n)
}

func (m *API) deletePromptAlias(ctx context.Context, in *modelRequest) (any, error) {
	return none{}, m.Prompts.DropAlias(ctx, in.Name, in.Alias)
}

func (m *API) getPromptAlias(ctx context.Context, in *modelRequest) (any, error) {
	v, err := m.Prompts.Aliased(ctx, in.Name, in.Alias)
	return answerPromptVersion(v, wrongAlias(err))
}

// createVersionOfModel is createVersion for names that no prompt has.
func (m *API) createVersionOfModel(ctx context.Context, in *modelRequest) (any, error) {
	if !isPrompt(in.Tags) {
		return m.createVersion(ctx, in)
	}
	if _, err := m.Inventory.Recorded(ctx, in.Name); err == nil {
		return nil, problem.New(problem.Invalid, "%s is a registered model, not a prompt; a version of a prompt cannot be added to it.", problem.Clip(in.Name, 100)).At("name")
	}
	return nil, problem.New(problem.NotFound, "Prompt with name=%s not found. Register it first.", problem.Clip(in.Name, 100)).At("name")
}

// createPromptVersion opens nothing: a prompt has no files, and a source that would be some is refused.
func (m *API) createPromptVersion(ctx context.Context, in *modelRequest) (any, error) {
	tags := toMap(in.Tags)
	text, ok := tags[tagPromptText]
	switch {
	case !slices.Contains(promptSources, in.Source):
		err := problem.New(problem.Invalid, "Invalid prompt source: '%s'. A prompt has no source; clients send %s.", problem.Clip(in.Source, 200), strings.Join(promptSources, " or ")).At("source")
		return nil, m.Prompts.Refused(ctx, in.Name, problem.Clip(in.Source, 200), err)
	case tags[tagIsPrompt] != "true":
		return nil, problem.New(problem.Invalid, "%s is a prompt; a version of a model cannot be added to it.", in.Name).At("tags")
	case !ok:
		return nil, problem.New(problem.Invalid, "Prompt `%s` does not contain a prompt text: the tag %s is missing.", in.Name, tagPromptText).At("tags")
	}
	delete(tags, tagIsPrompt)
	delete(tags, tagPromptText)
	return answerPromptVersion(m.Prompts.AddVersion(ctx, prompt.Version{Prompt: in.Name, Template: text, Description: plain(in.Description), Tags: tags}))
}

func (m *API) changePromptVersion(ctx context.Context, in *modelRequest, change func(*prompt.Version)) (prompt.Version, error) {
	n, err := versionNumber(string(in.Version))
	if err != nil {
		return prompt.Version{}, err
	}
	return m.Prompts.ChangeVersion(ctx, in.Name, n, func(v *prompt.Version) error { change(v); return nil })
}

func (m *API) updatePromptVersion(ctx context.Context, in *modelRequest) (any, error) {
	return answerPromptVersion(m.changePromptVersion(ctx, in, func(v *prompt.Version) {
		if in.Description != nil {
			v.Description = *in.Description
		}
	}))
}

func (m *API) noFiles(_ context.Context, in *modelRequest) (any, error) {
	return nil, problem.New(problem.Invalid, "%s is a prompt: it has no stages and no files.", in.Name).At("name")
}

func (m *API) deletePromptVersion(ctx context.Context, in *modelRequest) (any, error) {
	n, err := versionNumber(string(in.Version))
	if err != nil {
		return nil, err
	}
	return none{}, m.Prompts.DeleteVersion(ctx, in.Name, n)
}

func (m *API) getPromptVersion(ctx context.Context, in *modelRequest) (any, error) {
	n, err := versionNumber(string(in.Version))
	if err != nil {
		return nil, err
	}
	return answerPromptVersion(m.Prompts.Version(ctx, in.Name, n))
}

// searchEitherVersions finds versions of prompts if the filter names their tag, else versions of models.
func (m *API) searchEitherVersions(ctx context.Context, in *searchRequest) (any, error) {
	yes, err := asked(in.Filter, filter.Versions)
	if err != nil {
		return nil, err
	}
	if !yes {
		return m.searchVersions(ctx, in)
	}
	limit, err := limited(integer(in.Max), 10000, 200000)
	if err != nil {
		return nil, err
	}
	list, next, err := m.Prompts.SearchVersions(ctx, filter.Query{Filter: in.Filter, Order: in.Order, Limit: limit, Token: in.Token}, promptMark)
	if err != nil {
		return nil, err
	}
	out := struct {
		Versions []modelVersion `json:"model_versions,omitempty"`
		Next     string         `json:"next_page_token,omitempty"`
	}{Next: next}
	for _, v := range list {
		out.Versions = append(out.Versions, fromPromptVersion(v))
	}
	return out, nil
}

func (m *API) setPromptVersionTag(ctx context.Context, in *modelRequest) (any, error) {
	if err := fixed(in.Key); err != nil {
		return nil, err
	}
	_, err := m.changePromptVersion(ctx, in, func(v *prompt.Version) { v.Tags[in.Key] = in.Value })
	return none{}, err
}

func (m *API) deletePromptVersionTag(ctx context.Context, in *modelRequest) (any, error) {
	if err := fixed(in.Key); err != nil {
		return nil, err
	}
	_, err := m.changePromptVersion(ctx, in, func(v *prompt.Version) { delete(v.Tags, in.Key) })
	return none{}, err
}
