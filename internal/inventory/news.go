package inventory

import (
	"errors"
	"strconv"

	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
)

// Events about models, their aliases and the tags of versions.
const (
	EventModelCreated   = "inventory.model.created"       // data: {model, kind, description, tags}
	EventModelChanged   = "inventory.model.changed"       // data: {model, changed}
	EventModelRenamed   = "inventory.model.renamed"       // data: {model, before}
	EventModelDeleted   = "inventory.model.deleted"       // data: {model}
	EventVersionDeleted = "inventory.version.deleted"     // data: {model, version}
	EventTagSet         = "inventory.version.tag-set"     // data: {model, version, key, value}
	EventTagDeleted     = "inventory.version.tag-deleted" // data: {model, version, key}
	EventAliasSet       = "inventory.alias.set"           // data: {model, alias, version, before}
	EventAliasDeleted   = "inventory.alias.deleted"       // data: {model, alias, before}
)

// tagNews tells of every tag of a version that was set, changed or taken away.
func tagNews(tx db.Scope, model string, number int, before, after map[string]string) error {
	subject := "model/" + model + "/" + strconv.Itoa(number)
	var errs []error
	for _, k := range sorted(after) {
		if old, ok := before[k]; !ok || old != after[k] {
			errs = append(errs, event.Publish(tx, EventTagSet, subject, map[string]any{"model": model, "version": number, "key": k, "value": after[k]}))
		}
	}
	for _, k := range sorted(before) {
		if _, ok := after[k]; !ok {
			errs = append(errs, event.Publish(tx, EventTagDeleted, subject, map[string]any{"model": model, "version": number, "key": k}))
		}
	}
	return errors.Join(errs...)
}

// Named reports whether a model has a name, for those who share the space of names.
func (s *Service) Named(tx db.Scope, name string) (bool, error) {
	_, err := getModel(tx, name)
	if problem.Is(err, problem.NotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *Service) reserved(tx db.Scope, name string) error {
	for _, f := range s.Reserved {
		if err := f(tx, name); err != nil {
			return err
		}
	}
	return nil
}
