package helm

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/weirlog/weir/metrics"
)

const monitoringDir = "../../deploy/monitoring/"

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// metricLabels returns weir's metrics with their labels, from the reference that is
// made of the code.
func metricLabels(t *testing.T) map[string][]string {
	t.Helper()
	out := make(map[string][]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(weir_[a-z_]+)` \\| \\w+ \\| ([a-z_, ]*) \\|").FindAllStringSubmatch(metrics.Reference(), -1) {
		out[row[1]] = strings.Split(row[2], ", ")
	}
	if len(out) < 100 || !slices.Contains(out["weir_parse_errors_total"], "at") {
		t.Fatalf("the list of metrics cannot be read: %d", len(out))
	}
	return out
}

// What Prometheus adds to every series (a PodMonitor does, and its relabelings).
var targetLabels = []string{"namespace", "exported_namespace", "pod", "node", "component", "instance", "job", "container"}

// checkQuery tells what is wrong with an expression: its syntax, metrics that weir
// does not have, labels that they do not have.
func checkQuery(t *testing.T, where, expr string, known map[string][]string) {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, expr)
		return
	}
	var have []string // labels of all series in the expression
	own := false
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		if !strings.HasPrefix(v.Name, "weir_") {
			if v.Name != "up" && !strings.HasPrefix(v.Name, "kube_") {
				t.Errorf("%s: metric %q is nobody's", where, v.Name)
			}
			return nil
		}
		own = true
		labelsOf, ok := known[v.Name]
		if !ok {
			t.Errorf("%s: there is no metric %s", where, v.Name)
		}
		have = append(have, labelsOf...)
		for _, m := range v.LabelMatchers {
			if m.Name != "__name__" && !slices.Contains(labelsOf, m.Name) && !slices.Contains(targetLabels, m.Name) {
				t.Errorf("%s: %s has no label %s", where, v.Name, m.Name)
			}
		}
		return nil
	})
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok && own {
			for _, l := range a.Grouping {
				if !slices.Contains(have, l) && !slices.Contains(targetLabels, l) {
					t.Errorf("%s: nothing has the label %s in %s", where, l, expr)
				}
			}
		}
		return nil
	})
}

// Every alert can be evaluated, says what to do, and has a section in the handbook;
// every section has an alert.
func TestAlerts(t *testing.T) {
	known := metricLabels(t)
	handbook := string(read(t, "../../docs/operations.md"))
	rules, err := parse(read(t, monitoringDir+"alerts.yaml"))
	if err != nil || len(rules) != 1 {
		t.Fatal(len(rules), err)
	}
	var names []string
	for _, g := range at(rules[0], "spec", "groups").([]any) {
		for _, r := range at(g, "rules").([]any) {
			name := at(r, "alert").(string)
			names = append(names, name)
			checkQuery(t, name, at(r, "expr").(string), known)
			if want := "https://github.com/weirlog/weir/blob/main/docs/operations.md#" + strings.ToLower(name); at(r, "annotations", "runbook_url") != want {
				t.Errorf("%s: runbook %v", name, at(r, "annotations", "runbook_url"))
			}
			if s := at(r, "labels", "severity"); s != "critical" && s != "warning" && s != "info" {
				t.Errorf("%s: severity %v", name, s)
			}
			if d, _ := at(r, "annotations", "description").(string); !regexp.MustCompile(`^See: (weir|kubectl) `).MatchString(d) {
				t.Errorf("%s names no command: %q", name, d)
			}
		}
	}
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^### (Weir\w+)\n\n\S`).FindAllStringSubmatch(handbook, -1) {
		sections = append(sections, m[1])
	}
	if diff := cmp.Diff(names, sections); diff != "" {
		t.Errorf("alerts (-) and sections of docs/operations.md (+): %s", diff)
	}
}

// The dashboard is one that Grafana takes on any Prometheus, and asks for metrics that
// there are.
func TestDashboard(t *testing.T) {
	known := metricLabels(t)
	type target struct {
		Expr, RefID, LegendFormat string
		Datasource                struct{ UID string }
	}
	var d struct {
		UID, Title    string
		SchemaVersion int
		Templating    struct{ List []struct{ Name, Type string } }
		Panels        []struct {
			ID          int
			Type, Title string
			GridPos     struct{ H, W, X, Y int }
			Datasource  struct{ UID string }
			Targets     []target
		}
	}
	if err := json.Unmarshal(read(t, monitoringDir+"dashboard.json"), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" {
		t.Errorf("%q %q %d %v", d.UID, d.Title, d.SchemaVersion, d.Templating.List)
	}
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	queries := strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$pod", ".*")
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q has id %d, as another", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[cell] != "" || cell[0] > 23 {
					t.Errorf("panel %q lies on %q, or outside", p.Title, taken[cell])
				}
				taken[cell] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q: data source %q, %d queries", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, q := range p.Targets {
			if q.Datasource.UID != "${datasource}" || q.RefID == "" {
				t.Errorf("panel %q: %+v", p.Title, q)
			}
			checkQuery(t, p.Title, queries.Replace(q.Expr), known)
		}
	}
	if len(ids) < 20 {
		t.Errorf("%d panels", len(ids))
	}
}

// The chart cannot reach beyond its folder and so has copies.
func TestChartHasTheSameMonitoring(t *testing.T) {
	for _, name := range []string{"alerts.yaml", "dashboard.json"} {
		if !bytes.Equal(read(t, monitoringDir+name), read(t, chartDir+"/files/"+name)) {
			t.Errorf("cp deploy/monitoring/%s deploy/chart/files/", name)
		}
	}
	alerts, err := parse(read(t, monitoringDir+"alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	monitor, err := parse(read(t, monitoringDir+"podmonitor.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"PrometheusRule weir": alerts[0]["spec"], "PodMonitor weir": strip(monitor[0]["spec"])}
	got := make(map[string]any)
	for _, o := range mustRender(t, "weir", "logging", valueSets(t)["all-values.yaml"]) {
		switch id(o) {
		case "PrometheusRule weir", "PodMonitor weir":
			got[id(o)] = strip(o["spec"])
		case "ConfigMap weir-dashboard":
			if !json.Valid([]byte(at(o, "data", "weir.json").(string))) {
				t.Error("the dashboard in the chart is not JSON")
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
