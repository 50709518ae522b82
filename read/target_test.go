package read

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for _, c := range []struct{ arg, want string }{
		{"web", "web"},
		{"deploy/web", "deployment/web"},
		{"deployments/web", "deployment/web"},
		{"deployment.apps/web", "deployment/web"},
		{"STS/db", "statefulset/db"},
		{"po/web-1/nginx", "pod/web-1/nginx"},
		{"shop:deploy/web/nginx", "shop:deployment/web/nginx"},
		{"*:ds/agent", "*:daemonset/agent"},
		{"shop:^web-[0-9]+$", "shop:^web-[0-9]+$"},
		{"shop:", "shop:."},
		{"(?:web|api)", "(?:web|api)"},
		{"no/worker-1", "node/worker-1"}, {"cj/report", "cronjob/report"}, {"svc/web", "service/web"}, {"rc/old", "replicationcontroller/old"},
	} {
		got, err := ParseTarget(c.arg)
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %s, %v, want %s", c.arg, got.String(), err, c.want)
		}
	}
	for _, c := range []struct{ arg, want string }{
		{"", "a target is empty"},
		{"web(", "regular expression"},
		{"deplyo/web", "did you mean deploy/web?"},
		{"shop/web-1", "a pod in the namespace shop is shop:web-1"},
		{"deploy/", "want KIND/NAME"},
		{"deploy/web/", "want KIND/NAME"},
		{"deploy/web/a/b", "want KIND/NAME"},
		{"deploy/^web", "stands without a kind"},
	} {
		_, err := ParseTarget(c.arg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.arg, err, c.want)
		}
	}
}

func TestQueries(t *testing.T) {
	weir := NewNames([]string{"namespace", "pod", "container", "node", "workload", "app", "service_name"})
	promtail := NewNames([]string{"namespace", "pod", "container", "app"})
	promtail.Anything = `namespace=~".+"`
	otel := NewNames([]string{"k8s_namespace_name", "k8s_pod_name", "k8s_container_name", "k8s_deployment_name", "service_name"})
	bare := NewNames([]string{"service_name"})
	for _, c := range []struct {
		n       *Names
		targets string
		f       Filter
		text    string
		local   bool
		want    string // or what the error has
	}{
		{weir, "", Filter{}, "", true, `{service_name=~".+"}`},
		{weir, "web", Filter{}, "", true, `{pod=~".*web.*"}`},
		{weir, "^web-.$", Filter{}, "", true, `{pod=~"web-."}`},
		{weir, "a|b", Filter{}, "", true, `{pod=~".*(a|b).*"}`},
		{weir, "web db", Filter{}, "", true, `{pod=~".*web.*|.*db.*"}`},
		{weir, "deploy/web deploy/a.b", Filter{}, "", true, "{workload=~`deployment/web|deployment/a\\.b`}"},
		{weir, "deploy/web db", Filter{}, "", true, `{workload="deployment/web"} ; {pod=~".*db.*"}`},
		{weir, "shop:deploy/web/nginx", Filter{Namespaces: []string{"other"}}, "", true, `{namespace="shop", workload="deployment/web", container="nginx"}`},
		{weir, "*:web", Filter{Namespaces: []string{"other"}}, "", true, `{pod=~".*web.*"}`},
		{weir, "", Filter{Namespaces: []string{"a", "b"}, NoPods: []string{"x"}, Containers: []string{"^c$"}, NoContainers: []string{"d", "e"}, Node: "n"}, "", true,
			`{namespace=~"a|b", pod!~".*x.*", container=~"c", container!~".*(d|e).*", node="n"}`},
		{weir, "", Filter{NoPods: []string{"x"}}, "", true, `{pod!~".*x.*", service_name=~".+"}`},
		{weir, "", Filter{Labels: "app.kubernetes.io/name=web,tier in (a, b),!x,y"}, "", true, `{app="web", label_tier=~"a|b", label_x="", label_y!=""}`},
		{weir, "", Filter{Fields: "spec.nodeName=n,metadata.name!=p"}, "", true, `{node="n", pod!="p"}`},
		{weir, "", Filter{Fields: "status.phase=Running"}, "", true, "ask the cluster with --kube"},
		{weir, "", Filter{Labels: "a b"}, "", true, "cannot be read"},
		{weir, "", Filter{}, `|= "x" | json`, true, `{service_name=~".+"} |= "x" | json`},
		{weir, "deploy/web", Filter{}, `{app="x"} |= "y"`, true, `{workload="deployment/web", app="x"} |= "y"`},
		{weir, "rs/web-abc", Filter{}, "", true, `{pod=~"web-abc-[a-z0-9]{5}"}`},
		{weir, "job/report-29000000", Filter{}, "", true, `{pod=~"report-29000000-([0-9]+-)?[a-z0-9]{5}"}`},
		{weir, "cj/report", Filter{}, "", true, `{workload="cronjob/report"}`},
		{weir, "svc/web", Filter{}, "", true, `{service_name="web"}`},
		{weir, "no/n", Filter{}, "", true, `{node="n"}`},
		{promtail, "deploy/web", Filter{}, "", false, `{pod=~"web-[a-z0-9]{6,10}-[a-z0-9]{5}"}`},
		{promtail, "sts/web", Filter{}, "", false, `{pod=~"web-[0-9]+"}`},
		{promtail, "ds/web", Filter{}, "", false, `{pod=~"web-[a-z0-9]{5}"}`},
		{promtail, "", Filter{}, `{level="error"}`, false, `{namespace=~".+"} | detected_level="error"`},
		{otel, "shop:deploy/web/c", Filter{}, "", false, `{k8s_namespace_name="shop", k8s_deployment_name="web", k8s_container_name="c"}`},
		{bare, "web", Filter{}, "", false, `{service_name=~".+"} | pod=~".*web.*"`},
	} {
		var targets []Target
		for _, arg := range strings.Fields(c.targets) {
			target, err := ParseTarget(arg)
			if err != nil {
				t.Fatal(err)
			}
			targets = append(targets, target)
		}
		list, err := c.n.Queries(targets, &c.f, c.text, c.local)
		var got []string
		for _, e := range list {
			got = append(got, e.String())
		}
		if text := strings.Join(got, " ; "); err == nil && text != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v %s:\n got %s, %v\nwant %s", c.targets, c.f, c.text, text, err, c.want)
		}
	}
}
