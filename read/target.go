package read

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weirlog/weir/logql"
)

// Target is whose logs are wanted.
type Target struct {
	// Namespace is "" if none was named, and * for all.
	Namespace string
	// Kind is pod, deployment, …; "" means that Name is a regular expression for
	// names of pods.
	Kind, Name string
	// Container is the name of one; "" means all.
	Container string
}

// Kinds are the kinds of targets, each with what else it is called, as kubectl
// has it.
var Kinds = []struct {
	Name  string
	Short []string
}{
	{"pod", []string{"po"}},
	{"deployment", []string{"deploy"}},
	{"statefulset", []string{"sts"}},
	{"daemonset", []string{"ds"}},
	{"replicaset", []string{"rs"}},
	{"replicationcontroller", []string{"rc"}},
	{"job", nil},
	{"cronjob", []string{"cj"}},
	{"service", []string{"svc"}},
	{"node", []string{"no"}},
}

// KindOf returns the kind that a word means, in the singular or plural, with its
// API group (deployments.apps) or without; "" if there is none.
func KindOf(word string) string {
	word, _, _ = strings.Cut(strings.ToLower(word), ".")
	for _, k := range Kinds {
		if word == k.Name || word == k.Name+"s" || slices.Contains(k.Short, word) {
			return k.Name
		}
	}
	return ""
}

const targetExamples = "weir tail web, weir tail deploy/web, weir tail shop:deploy/web/nginx"

// namespaceName is what Kubernetes allows; a regular expression with a colon in
// it is none.
var namespaceName = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]*[a-z0-9])?|\*)$`)

// IsLogQL reports whether an argument is a query, or the end of one, and no
// target.
func IsLogQL(arg string) bool {
	arg = strings.TrimSpace(arg)
	for _, begin := range []string{"{", "|", "!=", "!~"} {
		if strings.HasPrefix(arg, begin) {
			return true
		}
	}
	return false
}

// ParseTarget reads [NAMESPACE:]REGEXP or [NAMESPACE:]KIND/NAME[/CONTAINER].
func ParseTarget(arg string) (Target, error) {
	var t Target
	rest := arg
	if ns, r, ok := strings.Cut(arg, ":"); ok && namespaceName.MatchString(ns) {
		t.Namespace, rest = ns, r
		if rest == "" {
			rest = "." // everything in it
		}
	}
	kind, name, ok := strings.Cut(rest, "/")
	if !ok {
		if rest == "" {
			return t, fmt.Errorf("a target is empty; examples: %s", targetExamples)
		}
		if _, err := regexp.Compile(rest); err != nil {
			return t, fmt.Errorf("target %s: %w; it is a regular expression for names of pods, as in: weir tail '^web-[0-9]+$'", arg, err)
		}
		t.Name = rest
		return t, nil
	}
	if t.Kind = KindOf(kind); t.Kind == "" {
		return t, unknownKind(arg, kind, name)
	}
	name, container, ok := strings.Cut(name, "/")
	if t.Name, t.Container = name, container; name == "" || ok && container == "" || strings.Contains(container, "/") {
		return t, fmt.Errorf("target %s: want KIND/NAME or KIND/NAME/CONTAINER, as in: weir tail deploy/web/nginx", arg)
	}
	for _, s := range []string{t.Name, t.Container} {
		if i := strings.IndexFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:", r)
		}); i >= 0 {
			return t, fmt.Errorf("target %s: %q is no name; a regular expression stands without a kind, as in: weir tail '^web-.*'", arg, s)
		}
	}
	return t, nil
}

func unknownKind(arg, kind, name string) error {
	best, least := "", 3
	for _, k := range Kinds {
		for _, word := range append([]string{k.Name}, k.Short...) {
			if d := distance(kind, word); d < least && d < len(word)-1 {
				best, least = word, d
			}
		}
	}
	if best != "" {
		return fmt.Errorf("target %s: no kind %q, did you mean %s/%s?", arg, kind, best, name)
	}
	if namespaceName.MatchString(kind) {
		return fmt.Errorf("target %s: no kind %q; a pod in the namespace %s is %s:%s, a deployment %s:deploy/%s", arg, kind, kind, kind, name, kind, name)
	}
	return fmt.Errorf("target %s: no kind %q; examples: %s", arg, kind, targetExamples)
}

// distance is the number of letters to change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, d)
		}
	}
	return row[len(b)]
}

func (t *Target) String() string {
	s := t.Name
	if t.Kind != "" {
		s = t.Kind + "/" + t.Name
	}
	if t.Container != "" {
		s += "/" + t.Container
	}
	if t.Namespace != "" {
		s = t.Namespace + ":" + s
	}
	return s
}

// Filter is what narrows targets, as the flags of the same names say it.
type Filter struct {
	Namespaces                             []string
	Containers, NoContainers, Pods, NoPods []string // regular expressions, for a part of the name
	Node                                   string
	Labels                                 string // of pods, as kubectl -l has it
	Fields                                 string
}

// Names finds the names that a server has for weir's labels.
type Names struct {
	have func(string) bool
	// Anything is a matcher that every stream has; the default suits a weir and
	// most Lokis.
	Anything string
}

// NewNames returns the Names of a server with these labels.
func NewNames(labels []string) *Names {
	return &Names{func(name string) bool { return slices.Contains(labels, name) }, `service_name=~".+"`}
}

// Has reports whether the server has a label of that name.
func (n *Names) Has(name string) bool { return n.have(name) }

// others are the names of labels elsewhere: of Promtail, Alloy, and OpenTelemetry.
var others = map[string][]string{
	"namespace": {"k8s_namespace_name", "kubernetes_namespace_name", "namespace_name"},
	"pod":       {"k8s_pod_name", "kubernetes_pod_name", "pod_name", "instance"},
	"container": {"k8s_container_name", "kubernetes_container_name", "container_name"},
	"node":      {"node_name", "k8s_node_name", "kubernetes_host", "nodename", "host"},
	"app":       {"app_kubernetes_io_name", "k8s_app", "service_name"},
}

// label returns what a label is called at the server, its own name if it has
// none like it.
func (n *Names) label(name string) string {
	if n.have(name) {
		return name
	}
	for _, other := range others[name] {
		if n.have(other) {
			return other
		}
	}
	return name
}

// matcher is a matcher as text.
func matcher(name, op, value string) string { return name + op + quote(value) }

func quote(s string) string {
	if strings.ContainsRune(s, '\\') && !strings.ContainsRune(s, '`') {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

// part makes of regular expressions that match a part one that matches the
// whole.
func part(list []string) string {
	if len(list) == 1 {
		re := list[0]
		if !strings.Contains(re, "|") {
			begin, end := ".*", ".*"
			if r, ok := strings.CutPrefix(re, "^"); ok {
				re, begin = r, ""
			}
			if r, ok := strings.CutSuffix(re, "$"); ok && !strings.HasSuffix(r, `\`) {
				re, end = r, ""
			}
			if re == "." || re == ".*" || re == "" {
				return ".+"
			}
			return begin + re + end
		}
	}
	return ".*(" + strings.Join(list, "|") + ").*"
}

// Selectors makes queries of targets, one or more that together find each line
// of any of them, some perhaps more than once. Without targets it is what the
// filter leaves.
func (n *Names) Selectors(targets []Target, f *Filter) ([]string, error) {
	base, err := n.base(f)
	if err != nil {
		return nil, err
	}
	if len(targets) == 0 {
		return []string{n.braces(base, f.Namespaces)}, nil
	}
	// Targets that differ in one value only become one query.
	type shape struct{ namespace, container, label string }
	var order []shape
	values := make(map[shape][]string)
	for i := range targets {
		t := &targets[i]
		label, value, err := n.target(t)
		if err != nil {
			return nil, err
		}
		s := shape{t.Namespace, t.Container, label}
		if len(values[s]) == 0 {
			order = append(order, s)
		}
		values[s] = append(values[s], value)
	}
	var out []string
	for _, s := range order {
		label, regex := strings.CutSuffix(s.label, "~")
		list := values[s]
		matchers := slices.Clone(base)
		switch {
		case regex:
			matchers = append(matchers, matcher(label, "=~", strings.Join(list, "|")))
		case len(list) == 1:
			matchers = append(matchers, matcher(label, "=", list[0]))
		default:
			for i := range list {
				list[i] = regexp.QuoteMeta(list[i])
			}
			matchers = append(matchers, matcher(label, "=~", strings.Join(list, "|")))
		}
		if s.container != "" {
			matchers = append(matchers, matcher(n.label("container"), "=", s.container))
		}
		namespaces := f.Namespaces
		switch s.namespace {
		case "":
		case "*":
			namespaces = nil
		default:
			namespaces = []string{s.namespace}
		}
		out = append(out, n.braces(matchers, namespaces))
	}
	return out, nil
}

func (n *Names) braces(matchers, namespaces []string) string {
	switch len(namespaces) {
	case 0:
	case 1:
		matchers = append([]string{matcher(n.label("namespace"), "=", namespaces[0])}, matchers...)
	default:
		var list []string
		for _, ns := range namespaces {
			list = append(list, regexp.QuoteMeta(ns))
		}
		matchers = append([]string{matcher(n.label("namespace"), "=~", strings.Join(list, "|"))}, matchers...)
	}
	if !slices.ContainsFunc(matchers, positive) {
		matchers = append(matchers, n.Anything)
	}
	return "{" + strings.Join(matchers, ", ") + "}"
}

// positive reports whether a matcher matches no empty value: one such is needed.
func positive(m string) bool {
	sel, err := logql.ParseMatchers("{" + m + "}")
	return err == nil && !sel.Matchers()[0].Match("")
}

// base returns the matchers of a filter, without those for namespaces.
func (n *Names) base(f *Filter) ([]string, error) {
	var out []string
	add := func(label, op string, list []string) {
		if len(list) > 0 {
			out = append(out, matcher(n.label(label), op, part(list)))
		}
	}
	add("pod", "=~", f.Pods)
	add("pod", "!~", f.NoPods)
	add("container", "=~", f.Containers)
	add("container", "!~", f.NoContainers)
	if f.Node != "" {
		out = append(out, matcher(n.label("node"), "=", f.Node))
	}
	labels, err := n.podLabels(f.Labels)
	if err != nil {
		return nil, err
	}
	fields, err := n.podFields(f.Fields)
	return append(append(out, labels...), fields...), err
}

// target returns the label for a target, with ~ behind it if the value is a
// regular expression.
func (n *Names) target(t *Target) (label, value string, err error) {
	pod := n.label("pod") + "~"
	hash := "[a-z0-9]{5}"
	name := regexp.QuoteMeta(t.Name)
	switch t.Kind {
	case "":
		return pod, part([]string{t.Name}), nil
	case "pod":
		return n.label("pod"), t.Name, nil
	case "node":
		return n.label("node"), t.Name, nil
	case "service":
		// What a service selects only the cluster knows.
		for _, l := range []string{"service_name", "service", "app", "app_kubernetes_io_name"} {
			if n.have(l) {
				return l, t.Name, nil
			}
		}
		return "", "", fmt.Errorf("%s: only the cluster knows the pods of a service; name the workload, as in: weir tail deploy/%s, or ask the cluster with --kube", t, t.Name)
	case "replicaset":
		// Those of a deployment are not the workload.
		return pod, name + "-" + hash, nil
	}
	if n.have("workload") {
		if t.Kind == "job" && scheduled.MatchString(t.Name) {
			return pod, name + "-([0-9]+-)?" + hash, nil // the workload is the cron job
		}
		return "workload", t.Kind + "/" + t.Name, nil
	}
	switch t.Kind {
	case "deployment":
		if n.have("k8s_deployment_name") {
			return "k8s_deployment_name", t.Name, nil
		}
		return pod, name + "-[a-z0-9]{6,10}-" + hash, nil
	case "statefulset":
		return pod, name + "-[0-9]+", nil
	case "job":
		return pod, name + "-([0-9]+-)?" + hash, nil
	case "cronjob":
		return pod, name + "-[0-9]{8,10}-([0-9]+-)?" + hash, nil
	}
	return pod, name + "-" + hash, nil // daemonset, replicationcontroller
}

// scheduled is the name of a cron job's job.
var scheduled = regexp.MustCompile(`-[0-9]{8,}$`)

// podLabels makes matchers of a selector of kubectl's. A store knows only some
// labels of pods.
// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
func (n *Names) podLabels(sel string) ([]string, error) {
	var out []string
	for _, r := range splitSelector(sel) {
		m := requirement.FindStringSubmatch(r)
		if m == nil {
			return nil, fmt.Errorf("selector %s: %s cannot be read; want as in: -l app=web,tier!=db", sel, r)
		}
		key, op, value := m[2], m[3], strings.TrimSpace(m[4])
		label := n.podLabel(key)
		switch {
		case op == "in", op == "notin":
			var list []string
			for v := range strings.SplitSeq(strings.Trim(value, "()"), ",") {
				list = append(list, regexp.QuoteMeta(strings.TrimSpace(v)))
			}
			to := "=~"
			if op == "notin" {
				to = "!~"
			}
			out = append(out, matcher(label, to, strings.Join(list, "|")))
		case op == "" && m[1] != "":
			out = append(out, matcher(label, "=", ""))
		case op == "":
			out = append(out, matcher(label, "!=", ""))
		case op == "!=":
			out = append(out, matcher(label, "!=", value))
		default:
			out = append(out, matcher(label, "=", value))
		}
	}
	return out, nil
}

var requirement = regexp.MustCompile(`^\s*(!?)\s*([A-Za-z0-9][-A-Za-z0-9_./]*)\s*(?:(==|=|!=|\bin\b|\bnotin\b)\s*(\([^()]*\)|[-A-Za-z0-9_.]*))?\s*$`)

// splitSelector splits at commas outside of parentheses.
func splitSelector(sel string) []string {
	var out []string
	depth, from := 0, 0
	for i := range len(sel) {
		switch sel[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, sel[from:i])
				from = i + 1
			}
		}
	}
	if strings.TrimSpace(sel[from:]) != "" {
		out = append(out, sel[from:])
	}
	return out
}

// podLabel returns the name of a pod's label at the server.
func (n *Names) podLabel(key string) string {
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r == '/' {
			return '_'
		}
		return r
	}, key)
	for _, l := range []string{name, "label_" + name, "k8s_pod_label_" + name} {
		if n.have(l) {
			return l
		}
	}
	switch key {
	case "app", "app.kubernetes.io/name", "k8s-app":
		return n.label("app")
	}
	return "label_" + name // structured metadata, if it was chosen
}

// podFields makes matchers of a field selector.
func (n *Names) podFields(sel string) ([]string, error) {
	var out []string
	for r := range strings.SplitSeq(sel, ",") {
		if strings.TrimSpace(r) == "" {
			continue
		}
		op := "="
		key, value, ok := strings.Cut(r, "!=")
		if ok {
			op = "!="
		} else if key, value, ok = strings.Cut(r, "=="); !ok {
			key, value, ok = strings.Cut(r, "=")
		}
		if !ok {
			return nil, fmt.Errorf("field selector %s: want as in: --field-selector spec.nodeName=worker-1", sel)
		}
		label := map[string]string{"metadata.name": "pod", "metadata.namespace": "namespace", "spec.nodeName": "node"}[strings.TrimSpace(key)]
		if label == "" {
			return nil, fmt.Errorf("field selector %s: logs that are kept know only metadata.name, metadata.namespace and spec.nodeName; ask the cluster with --kube", sel)
		}
		out = append(out, matcher(n.label(label), op, strings.TrimSpace(value)))
	}
	return out, nil
}

// Queries makes log queries of targets, a filter, and the LogQL that was given:
// a query, or the end of one. Matchers on names that are no labels of a Loki go
// behind the braces.
func (n *Names) Queries(targets []Target, f *Filter, text string, local bool) ([]*logql.LogExpr, error) {
	selectors, err := n.Selectors(targets, f)
	if err != nil {
		return nil, err
	}
	var out []*logql.LogExpr
	for _, sel := range selectors {
		if sel == "{"+n.Anything+"}" && strings.HasPrefix(strings.TrimSpace(text), "{") {
			sel = "{}"
		}
		expr, err := join(sel, strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		if !local {
			moved := logql.MoveMatchers(expr, n.have)
			if len(logql.Selectors(moved)[0].Matchers()) == 0 {
				any, err := logql.ParseMatchers("{" + n.Anything + "}")
				if err != nil {
					return nil, err
				}
				moved = logql.Narrow(moved, any.Matchers())
			}
			expr = moved.(*logql.LogExpr)
		}
		out = append(out, expr)
	}
	return out, nil
}

// join joins a selector with a query or the end of one.
func join(sel, text string) (*logql.LogExpr, error) {
	if !strings.HasPrefix(text, "{") {
		return logql.ParseLog(sel + " " + text)
	}
	expr, err := logql.ParseLog(text)
	if err != nil || sel == "{}" {
		return expr, err
	}
	m, err := logql.ParseMatchers(sel)
	if err != nil {
		return nil, err
	}
	return logql.Narrow(expr, m.Matchers()).(*logql.LogExpr), nil
}
