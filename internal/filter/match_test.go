package filter_test

import (
	"fmt"
	"slices"
	"testing"

	"keelson/internal/filter"
	"keelson/internal/problem"
)

func things() (out []filter.Thing) {
	for i, name := range []string{"ant", "bee", "Bee", "cat_1", "cat%1"} {
		t := filter.Thing{ID: name, Text: map[string]string{"name": name}, Number: map[string]float64{"created_at": float64(i / 2)}, Tags: map[string]string{}}
		if i%2 == 0 {
			t.Tags["team"] = "risk"
		}
		out = append(out, t)
	}
	return out
}

func TestSearchesInMemory(t *testing.T) {
	for _, c := range []struct{ filter, want string }{
		{"", "[ant bee Bee cat_1 cat%1]"},
		{"name = 'bee'", "[bee]"},
		{"name != 'bee'", "[ant Bee cat_1 cat%1]"},
		{"name LIKE 'cat_1'", "[cat_1 cat%1]"},
		{"name LIKE '%e'", "[bee Bee]"},
		{"name ILIKE 'BEE'", "[bee Bee]"},
		{"name IN ('ant', 'Bee')", "[ant Bee]"},
		{"name NOT IN ('ant', 'Bee')", "[bee cat_1 cat%1]"},
		{"tags.team = 'risk'", "[ant Bee cat%1]"},
		{"tags.team != 'sales'", "[ant Bee cat%1]"},
		{"tags.team IS NULL", "[bee cat_1]"},
		{"tags.team IS NOT NULL AND name != 'ant'", "[Bee cat%1]"},
		{"creation_timestamp >= 1", "[Bee cat_1 cat%1]"},
		{"creation_timestamp < 1", "[ant bee]"},
	} {
		list := things()
		picked, next, err := filter.Select(list, filter.Models, filter.Query{Filter: c.filter, Order: []string{"creation_timestamp"}, Limit: 10})
		if err != nil || next != "" {
			t.Fatalf("%s: %v %q", c.filter, err, next)
		}
		var got []string
		for _, i := range picked {
			got = append(got, list[i].ID)
		}
		want := c.want
		slices.Sort(got)
		all := []string{}
		for _, x := range list {
			all = append(all, x.ID)
		}
		sorted := slices.DeleteFunc(all, func(s string) bool { return !slices.Contains(got, s) })
		if fmt.Sprint(sorted) != want {
			t.Errorf("%s: got %v, want %s", c.filter, sorted, want)
		}
	}
	if _, _, err := filter.Select(nil, filter.Models, filter.Query{Filter: "colour = 'x'", Limit: 1}); !problem.Is(err, problem.Invalid) {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestPagesInMemoryNeitherRepeatNorSkip(t *testing.T) {
	list := things()
	q := filter.Query{Order: []string{"creation_timestamp DESC"}, Usual: []filter.Order{{Entity: filter.Attribute, Key: "name"}}, Limit: 2}
	var got []string
	for page := 0; ; page++ {
		picked, next, err := filter.Select(list, filter.Models, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range picked {
			got = append(got, list[i].ID)
		}
		if next == "" {
			break
		}
		// One that was shown goes, one that sorts before the place comes.
		list = slices.DeleteFunc(list, func(x filter.Thing) bool { return x.ID == got[0] && page == 0 })
		if page == 0 {
			list = append(list, filter.Thing{ID: "new", Text: map[string]string{"name": "new"}, Number: map[string]float64{"created_at": 9}})
		}
		q.Token = next
	}
	if fmt.Sprint(got) != "[cat%1 Bee cat_1 ant bee]" {
		t.Errorf("got %v", got)
	}
	for _, token := range []string{"x", "e30", q.Token[:len(q.Token)-2] + "00"} {
		q.Token = token
		if _, _, err := filter.Select(list, filter.Models, q); !problem.Is(err, problem.Invalid) {
			t.Errorf("token %q: %v", token, err)
		}
	}
	q.Token, q.Order = "", nil
	_, next, _ := filter.Select(list, filter.Models, q)
	q.Token, q.Filter = next, "name != 'x'"
	if _, _, err := filter.Select(list, filter.Models, q); !problem.Is(err, problem.Invalid) {
		t.Errorf("a token of another search: %v", err)
	}
}
