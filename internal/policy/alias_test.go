package policy

import (
	"testing"

	"keelson/internal/problem"
)

func TestAliasesAreProtectedByNameAndTier(t *testing.T) {
	for name, c := range map[string]struct {
		a     *Aliases
		alias string
		tier  int
		want  bool
	}{
		"a policy without aliases protects none": {nil, "champion", 1, false},
		"the highest risk is protected":          {&Aliases{[]string{"champion"}, 2}, "champion", 1, true},
		"so is the lowest one named":             {&Aliases{[]string{"champion"}, 2}, "champion", 2, true},
		"a lower risk is not":                    {&Aliases{[]string{"champion"}, 2}, "champion", 3, false},
		"a model nobody assessed is not":         {&Aliases{[]string{"champion"}, 4}, "champion", 0, false},
		"capitals do not help":                   {&Aliases{[]string{"champion"}, 2}, "Champion", 1, true},
		"a pattern stands for many":              {&Aliases{[]string{"prod*"}, 2}, "prod-eu", 1, true},
		"other names are free":                   {&Aliases{[]string{"champion", "prod*"}, 2}, "challenger", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.a.Protects(c.alias, c.tier); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	if err := (&Aliases{[]string{"["}, 1}).check(); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a broken pattern gives %v", err)
	}
}
