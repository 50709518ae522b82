package kube

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWishes(t *testing.T) {
	both := func(name, value string) [2]Wish { return [2]Wish{{name, value}, {name, value}} }
	for _, c := range []struct {
		about       string
		annotations map[string]string
		want        Wishes
	}{
		{"nothing", map[string]string{"weir.dev/parsers": "json", "weir.dev/exclude": "true", "fluentbit.io/parser_x": "json", "fluentbit.io/parser-": "json"}, Wishes{}},
		{"the pod's", map[string]string{"weir.dev/parser": "json", "weir.dev/multiline": "java", "weir.dev/rate": "5/s"}, Wishes{
			Parser: both("weir.dev/parser", "json"), Multiline: Wish{"weir.dev/multiline", "java"}, Rate: Wish{"weir.dev/rate", "5/s"}}},
		{"the container's own beats it", map[string]string{"weir.dev/parser": "json", "weir.dev/parser.app": "klog", "weir.dev/rate.app": "1/s", "weir.dev/rate": "5/s", "weir.dev/multiline.other": "go"}, Wishes{
			Parser: both("weir.dev/parser.app", "klog"), Rate: Wish{"weir.dev/rate.app", "1/s"}}},
		{"Fluent Bit's", map[string]string{"fluentbit.io/parser": "apache2"}, Wishes{Parser: both("fluentbit.io/parser", "access")}},
		{"by stream and container", map[string]string{"fluentbit.io/parser": "json", "fluentbit.io/parser_stderr": "klog", "fluentbit.io/parser_stdout-app": "nginx", "fluentbit.io/parser-other": "logfmt"}, Wishes{
			Parser: [2]Wish{{"fluentbit.io/parser_stdout-app", "access"}, {"fluentbit.io/parser_stderr", "klog"}}}},
		{"somebody's own parser", map[string]string{"fluentbit.io/parser-app": "acme", "fluentbit.io/parser": "json"}, Wishes{Parser: both("fluentbit.io/parser", "json")}},
		{"ours beats theirs, right or wrong", map[string]string{"fluentbit.io/parser-app": "json", "weir.dev/parser": "jsn"}, Wishes{Parser: both("weir.dev/parser", "jsn")}},
	} {
		f := filter{}
		p := f.pod(slim(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: c.annotations}}))
		if got := p.Wishes("app"); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.about, got, c.want)
		}
	}
}

func TestWishesStray(t *testing.T) {
	o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
		"weir.dev/parser": "x", "weir.dev/parser.app": "x", "weir.dev/rate.ap": "1/s", "fluentbit.io/parser_stdout-gone": "json", "weir.dev/multiline.init": strings.Repeat("x", 1<<18),
	}}}
	o.Spec.Containers = []corev1.Container{{Name: "app"}}
	o.Spec.InitContainers = []corev1.Container{{Name: "init"}}
	p := (&filter{}).pod(o)
	if got, want := p.Strays(), []string{"fluentbit.io/parser_stdout-gone", "weir.dev/rate.ap"}; !slices.Equal(got, want) {
		t.Errorf("strays %v, want %v", got, want)
	}
	if n := len(p.Wishes("init").Multiline.Value); n != maxWish {
		t.Errorf("%d bytes of a long value are kept", n)
	}
	if again := (&filter{}).pod(o); !reflect.DeepEqual(p, again) {
		t.Error("the same pod is news")
	}
}
