package app_test

import (
	"context"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/tensor"
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

// shippedRules reads the rules that the documentation hands out.
func shippedRules(t *testing.T) (rules prometheusRules) {
	t.Helper()
	text, err := os.ReadFile("../../docs/how-to/keelson-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalWithOptions(text, &rules, yaml.Strict()); err != nil {
		t.Fatal(yaml.FormatError(err, false, true))
	}
	return rules
}

// unseen are the metrics of the rules that have a series only after something happened that this test does not bring about:
// their names and labels are held against what the server describes.
var unseen = []string{"keelson_notify_attempts_total", "keelson_webhook_attempts_total", "keelson_alert_acts_total", "keelson_inference_refused_total", "keelson_python_crashes_total"}

// TestTheShippedAlertRulesFindTheirSeries scrapes a server that has answered and failed calls as Prometheus would, and looks
// for a series to each selector of the rules, with its labels and their values.
func TestTheShippedAlertRulesFindTheirSeries(t *testing.T) {
	rules := shippedRules(t)
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	row := []tensor.Tensor{tensor.FP64s("age", []int{1}, []float64{2})}
	served(t, c, "bills", map[string][]byte{"model.linear.json": []byte(`{"format":"keelson-linear-1","intercept":1,"coefficients":{"age":2}}`)}, "linear", row, []tensor.Tensor{tensor.FP64s("predict", []int{1, 1}, []float64{5})})
	if err := c.Infer(ctx, "bills.dev", map[string]any{"inputs": row}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Infer(ctx, "bills.dev", map[string]any{"inputs": []tensor.Tensor{tensor.FP64s("aeg", []int{1}, []float64{2})}}, nil); err == nil {
		t.Fatal("a call that does not fit was answered")
	}
	res, err := http.Get(a.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		t.Fatalf("what a scrape gets is not the text format: %v", err)
	}
	found := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			for _, m := range selector.FindAllStringSubmatch(r.Expr, -1) {
				if !strings.HasPrefix(m[1], "keelson_") {
					continue
				}
				family := families[m[1]]
				for _, part := range []string{"_bucket", "_count", "_sum"} {
					if f := families[strings.TrimSuffix(m[1], part)]; family == nil && f.GetType() == dto.MetricType_HISTOGRAM {
						family = f
					}
				}
				if family == nil && slices.Contains(unseen, m[1]) {
					continue
				}
				wanted := regexp.MustCompile(`([a-z_]+)="([^"]*)"`).FindAllStringSubmatch(m[2], -1)
				if !slices.ContainsFunc(family.GetMetric(), func(s *dto.Metric) bool {
					for _, w := range wanted {
						if !slices.ContainsFunc(s.Label, func(l *dto.LabelPair) bool { return l.GetName() == w[1] && l.GetValue() == w[2] }) {
							return false
						}
					}
					return true
				}) {
					t.Errorf("%s: no series on /metrics fits %s%s", r.Alert, m[1], m[2])
				}
				found++
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d selectors found their series", found)
	}
}

func TestTheShippedAlertRulesNameMetricsThatExist(t *testing.T) {
	rules := shippedRules(t)
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
