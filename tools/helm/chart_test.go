package helm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deploy"
	"go.yaml.in/yaml/v4"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

const chartDir = "../../deploy/chart"

type object = map[string]any

// at follows keys and indexes into an object; nil where there is nothing.
func at(v any, keys ...any) any {
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			m, _ := v.(object)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

// parse reads a stream of YAML documents. Duplicate keys are errors, documents
// without content are passed over.
func parse(text []byte) (out []object, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var o object
		switch err := dec.Decode(&o); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		case o != nil:
			out = append(out, o)
		}
	}
}

// render is helm template.
func render(release, namespace, values string) (objects []object, notes string, err error) {
	c, err := loader.Load(chartDir)
	if err != nil {
		return nil, "", err
	}
	vals, err := common.ReadValues([]byte(values))
	if err != nil {
		return nil, "", err
	}
	all, err := util.ToRenderValues(c, vals, common.ReleaseOptions{Name: release, Namespace: namespace, IsInstall: true, Revision: 1}, common.DefaultCapabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, "", err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Base(name) == "NOTES.txt" {
			notes = files[name]
			continue
		}
		if path.Ext(name) != ".yaml" {
			continue
		}
		some, err := parse([]byte(files[name]))
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w\n%s", name, err, files[name])
		}
		objects = append(objects, some...)
	}
	return objects, notes, nil
}

func mustRender(t *testing.T, release, namespace, values string) []object {
	t.Helper()
	objects, _, err := render(release, namespace, values)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// valueSets returns the values in deploy/chart/ci by name, and none.
func valueSets(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob(chartDir + "/ci/*-values.yaml")
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	sets := map[string]string{"default": ""}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sets[filepath.Base(name)] = string(text)
	}
	return sets
}

func id(o object) string {
	return fmt.Sprint(o["kind"], " ", at(o, "metadata", "name"))
}

// What the bases have and the chart has not, and the other way round: Helm's own
// labels, and the namespace, which is the user's.
func strip(v any) any {
	switch v := v.(type) {
	case object:
		for _, k := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart", "checksum/config"} {
			delete(v, k)
		}
		for k, e := range v {
			// Configurations are compared as what they say.
			if env, ok := e.([]any); ok && k == "env" {
				slices.SortFunc(env, func(a, b any) int { return strings.Compare(at(a, "name").(string), at(b, "name").(string)) })
			}
			if s, ok := e.(string); ok && strings.HasSuffix(k, ".yaml") {
				var o any
				if yaml.Unmarshal([]byte(s), &o) == nil {
					v[k] = o
				}
				continue
			}
			strip(e)
		}
	case []any:
		for _, e := range v {
			strip(e)
		}
	}
	return v
}

// The chart with its default values and the kustomize base of a role are the same
// objects: names, permissions, security, probes, volumes, configurations.
func TestChartIsTheBases(t *testing.T) {
	for _, role := range deploy.Roles() {
		got := make(map[string]any)
		values := fmt.Sprintf("agent: {enabled: %v}\n", role == "agent")
		if role != "agent" {
			values += role + ": {enabled: true}\n"
		}
		for _, o := range mustRender(t, "weir", deploy.DefaultNamespace, values) {
			switch {
			case at(o, "metadata", "annotations", "helm.sh/hook") != nil:
			case id(o) == "Secret weir-webhook": // so that uninstalling removes it
			default:
				got[id(o)] = strip(o)
			}
		}
		text, err := deploy.Manifests(role, deploy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		objects, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string]any)
		for _, o := range objects {
			if o["kind"] != "Namespace" {
				want[id(o)] = strip(o)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the base (-) and the chart (+) differ:\n%s", role, diff)
		}
	}
}

// A field that Kubernetes does not know would be dropped in silence. What is not of
// Kubernetes itself is at least complete.
func strict(o object) error {
	into := map[any]any{
		"ServiceAccount": new(corev1.ServiceAccount), "ConfigMap": new(corev1.ConfigMap), "Secret": new(corev1.Secret),
		"Service": new(corev1.Service), "Pod": new(corev1.Pod),
		"Role": new(rbacv1.Role), "RoleBinding": new(rbacv1.RoleBinding), "ClusterRole": new(rbacv1.ClusterRole), "ClusterRoleBinding": new(rbacv1.ClusterRoleBinding),
		"DaemonSet": new(appsv1.DaemonSet), "StatefulSet": new(appsv1.StatefulSet), "Deployment": new(appsv1.Deployment),
		"NetworkPolicy": new(networkingv1.NetworkPolicy), "PodDisruptionBudget": new(policyv1.PodDisruptionBudget),
		"HorizontalPodAutoscaler":      new(autoscalingv2.HorizontalPodAutoscaler),
		"MutatingWebhookConfiguration": new(admissionregistrationv1.MutatingWebhookConfiguration),
	}[o["kind"]]
	if into == nil {
		switch o["kind"] {
		case "PodMonitor", "PrometheusRule", "Issuer", "Certificate":
		default:
			return fmt.Errorf("kind %v is not known here", o["kind"])
		}
		if at(o, "spec") == nil || at(o, "apiVersion") == nil {
			return errors.New("no spec, or no apiVersion")
		}
		return nil
	}
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// Every set of values renders to objects of the API, each once and in the release's
// namespace, with configurations that weir takes.
func TestValueSets(t *testing.T) {
	for name, values := range valueSets(t) {
		for _, release := range []string{"weir", "second"} {
			t.Run(name+"/"+release, func(t *testing.T) {
				objects, notes, err := render(release, "obs", values)
				if err != nil {
					t.Fatal(err)
				}
				if n := strings.Count(strings.TrimSpace(notes), "\n") + 1; n > 12 || strings.Contains(notes, "<no value>") {
					t.Errorf("the notes have %d lines:\n%s", n, notes)
				}
				seen := make(map[string]bool)
				for _, o := range objects {
					if seen[id(o)] {
						t.Errorf("%s is there twice", id(o))
					}
					seen[id(o)] = true
					if err := strict(o); err != nil {
						t.Errorf("%s: %v", id(o), err)
					}
					kind := o["kind"].(string)
					cluster := strings.HasPrefix(kind, "Cluster") || strings.HasSuffix(kind, "WebhookConfiguration")
					if ns := at(o, "metadata", "namespace"); !cluster && ns != "obs" && id(o) != "ConfigMap ca" {
						t.Errorf("%s is in namespace %v", id(o), ns)
					}
					selected(t, o)
					checkConfig(t, o)
				}
			})
		}
	}
}

// selected tells whether what selects pods has the labels of the pods it makes.
func selected(t *testing.T, o object) {
	t.Helper()
	selector, _ := at(o, "spec", "selector", "matchLabels").(object)
	labels, ok := at(o, "spec", "template", "metadata", "labels").(object)
	if !ok {
		return
	}
	for k, v := range selector {
		if labels[k] != v {
			t.Errorf("%s selects %s=%v, its pods have %v", id(o), k, v, labels[k])
		}
	}
	if selector["app.kubernetes.io/instance"] == nil {
		t.Errorf("%s selects pods of other releases", id(o))
	}
}

// checkConfig loads the configurations in a ConfigMap as their role does.
func checkConfig(t *testing.T, o object) {
	t.Helper()
	data, _ := at(o, "data").(object)
	for key, preset := range map[string]any{"weir.yaml": at(o, "metadata", "labels", "app.kubernetes.io/component"), "ship.yaml": "sidecar"} {
		text, ok := data[key].(string)
		if !ok {
			continue
		}
		env := map[string]string{
			"ELASTICSEARCH_SCHEME": "http", "ELASTICSEARCH_HOST": "es", "ELASTICSEARCH_PORT": "9200", "NODE_NAME": "n",
			"GATEWAY_TOKEN": "0123456789abcdef0123456789abcdef", "STORE_PASSWORD": "0123456789abcdef", "SIDECAR_IMAGE": "weir:latest",
		}
		_, _, err := config.Load(config.Options{
			Files: []string{key}, Preset: preset.(string), Incomplete: preset == "sidecar",
			Env:      func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
		})
		if err != nil {
			t.Errorf("%s: %s: %v\n%s", id(o), key, err, text)
		}
	}
}

// Typos are refused before anything is changed in a cluster.
func TestValuesAreChecked(t *testing.T) {
	for values, want := range map[string]string{
		"agnet: {enabled: true}":                                         "agnet",
		"agent: {resource: {}}":                                          "resource",
		"agent: {enabled: yes please}":                                   "enabled",
		"image: {tagg: v1}":                                              "tagg",
		"agent: {updateStrategy: {rollingUpdate: {maxSurge: 1}}}":        "maxSurge",
		"gateway: {kind: DaemonSet}":                                     "kind",
		"agent: {extraEnv: [{value: a}]}":                                "name",
		"monitoring: {serviceMonitor: {enabled: true}}":                  "serviceMonitor",
		"store: {enabled: true, persistence: {size: large}}":             "size",
		"agent: {nodeSelector: {zone: 1}}":                               "zone",
		"webhook: {enabled: true, certManager: {enabled: true, is: {}}}": "is",
	} {
		if _, _, err := render("weir", "obs", values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", values, err)
		}
	}
}

func TestLint(t *testing.T) {
	for name, values := range valueSets(t) {
		vals, err := common.ReadValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range lint.RunAll(chartDir, vals, "obs").Messages {
			if !strings.Contains(m.Error(), "icon is recommended") {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// The switches change what they say, and nothing takes the image of somebody else.
func TestSwitches(t *testing.T) {
	by := make(map[string]object)
	values := valueSets(t)
	for _, o := range mustRender(t, "weir", "obs", values["small-values.yaml"]) {
		by[id(o)] = o
	}
	ds := at(by["DaemonSet weir-agent"], "spec", "template", "spec")
	c := at(ds, "containers", 0)
	if got := at(c, "image"); got != "registry.example.com/infra/weir@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" {
		t.Errorf("image %v", got)
	}
	if diff := cmp.Diff(object{"drop": []any{"ALL"}, "add": []any{"DAC_READ_SEARCH"}}, at(c, "securityContext", "capabilities")); diff != "" {
		t.Error(diff)
	}
	if mount := at(c, "volumeMounts", 2); at(mount, "name") != "varlog" || at(mount, "readOnly") != false {
		t.Errorf("hard links cannot be made: %v", mount)
	}
	var conf object
	if err := yaml.Unmarshal([]byte(at(by["ConfigMap weir-agent"], "data", "weir.yaml").(string)), &conf); err != nil {
		t.Fatal(err)
	}
	if _, there := at(conf, "outputs").(object)["elasticsearch"]; there || at(conf, "outputs", "loki") == nil || at(conf, "listen", "probe") != ":7411" {
		t.Errorf("values are not merged into the default: %v", conf)
	}
	for _, o := range mustRender(t, "second", "obs", "image: {repository: r/weir, tag: v2}\nwebhook: {enabled: true}\ngateway: {enabled: true}\n") {
		pod := at(o, "spec", "template", "spec")
		if pod == nil {
			continue
		}
		for _, e := range at(pod, "containers", 0, "env").([]any) {
			if at(e, "name") == "SIDECAR_IMAGE" && at(e, "value") != "r/weir:v2" {
				t.Errorf("sidecars run %v", at(e, "value"))
			}
		}
		if id(o) == "Deployment weir-second-webhook" && !slices.Contains(at(pod, "containers", 0, "args").([]any), any("webhook.configuration=weir-second-webhook")) {
			t.Errorf("the webhook looks for another configuration: %v", at(pod, "containers", 0, "args"))
		}
	}
}
