package app_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// prometheusRules is the form of a file of Prometheus's rule_files.
type prometheusRules struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

var (
	metricName = regexp.MustCompile(`keelson_[a-z0-9_]+`)
	selector   = regexp.MustCompile(`([a-z_:][a-z0-9_:]*)(\{[^}]*\})?(\[[0-9]+[smhd]\])?`)
	matcher    = regexp.MustCompile(`^\{([a-z_]+(=|!=|=~|!~)"[^"]*"(, ?)?)*\}$`)
	described  = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
)

// functions are the words of PromQL that the rules use.
var functions = []string{"sum", "by", "rate", "increase", "histogram_quantile", "or", "le", "endpoint", "kind", "up"}

func TestTheShippedAlertRulesNameMetricsThatExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/how-to/keelson-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules prometheusRules
	if err := yaml.UnmarshalWithOptions(text, &rules, yaml.Strict()); err != nil {
		t.Fatal(yaml.FormatError(err, false, true))
	}
	a := start(t, nil)
	labels := map[string]string{}
	for _, d := range a.Described() {
		if m := described.FindStringSubmatch(d); m != nil {
			labels[m[1]] = m[2]
		}
	}
	if len(labels) < 15 {
		t.Fatalf("only %d metrics are described", len(labels))
	}
	seen := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || seen[r.Alert] || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%q lacks a name of its own, a severity, a summary or a description", r.Alert)
			}
			seen[r.Alert] = true
			if _, err := time.ParseDuration(r.For); r.For != "" && err != nil {
				t.Errorf("%s: for %q", r.Alert, r.For)
			}
			for _, pair := range []string{"()", "{}", "[]"} {
				if strings.Count(r.Expr, pair[:1]) != strings.Count(r.Expr, pair[1:]) {
					t.Errorf("%s: %s are not balanced", r.Alert, pair)
				}
			}
			for _, m := range selector.FindAllStringSubmatch(regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(r.Expr, ""), -1) {
				if name := m[1]; !strings.HasPrefix(name, "keelson_") && !slices.Contains(functions, name) && !regexp.MustCompile(`^[smhd]$`).MatchString(name) {
					t.Errorf("%s: %q is no word of the rules", r.Alert, name)
				}
			}
			for _, m := range selector.FindAllStringSubmatch(r.Expr, -1) {
				if m[2] != "" && !matcher.MatchString(m[2]) {
					t.Errorf("%s: %s is no selector", r.Alert, m[2])
				}
				if !strings.HasPrefix(m[1], "keelson_") {
					continue
				}
				name := m[1]
				known, ok := labels[name]
				for _, part := range []string{"_bucket", "_count", "_sum"} {
					if l, histogram := labels[strings.TrimSuffix(name, part)]; !ok && histogram {
						known, ok = l+",le", true
					}
				}
				if !ok {
					t.Errorf("%s: there is no metric %s", r.Alert, name)
				}
				for _, l := range regexp.MustCompile(`([a-z_]+)[=!]`).FindAllStringSubmatch(m[2], -1) {
					if !slices.Contains(strings.Split(known, ","), l[1]) {
						t.Errorf("%s: the metric %s has no label %s, it has %s", r.Alert, name, l[1], known)
					}
				}
			}
			if r.Alert != "KeelsonDown" && !metricName.MatchString(r.Expr) {
				t.Errorf("%s names no metric", r.Alert)
			}
			for _, g := range regexp.MustCompile(`by \(([a-z_, ]+)\)`).FindAllStringSubmatch(r.Expr, -1) {
				for l := range strings.SplitSeq(g[1], ",") {
					if l = strings.TrimSpace(l); l != "le" && !strings.Contains(strings.Join(values(labels, metricName.FindAllString(r.Expr, -1)), ","), l) {
						t.Errorf("%s groups by %s, which none of its metrics has", r.Alert, l)
					}
				}
			}
		}
	}
	if len(seen) < 8 {
		t.Errorf("only %d rules are shipped", len(seen))
	}
}

// values gives the labels of metrics, histograms by any of their parts.
func values(labels map[string]string, names []string) (out []string) {
	for _, n := range names {
		for _, part := range []string{"", "_bucket", "_count", "_sum"} {
			out = append(out, labels[strings.TrimSuffix(n, part)])
		}
	}
	return out
}
