package tail

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSplitRotated(t *testing.T) {
	for _, c := range []struct {
		name, base string
		gz, ok     bool
		rank       int
	}{
		{"0.log", "0.log", false, true, 0},
		{"0.log.20261122-101112", "0.log", false, true, 1},
		{"0.log.20261122-101112.gz", "0.log", true, true, 1},
		{"0.log.20261122-101112.tmp", "", false, false, 0},
		{"app.log.1", "app.log", false, true, 2},
		{"app.log.12.gz", "app.log", true, true, 2},
		{"app.log-20261122", "app.log", false, true, 1},
		{"app.log-2026-11-22.gz", "app.log", true, true, 1},
		{"app.log.2026-11-22T10:11:12", "app.log", false, true, 1},
		{"app.log.gz", "app.log", true, true, 0},
		{"app-1.log", "app-1.log", false, true, 0},
		{"app-20261122.log", "app-20261122.log", false, true, 0},
		{"x", "x", false, true, 0},
		{".1", ".1", false, true, 0},
		{"4f2c-json.log.1", "4f2c-json.log", false, true, 2},
	} {
		base, s, ok := splitRotated(c.name)
		if base != c.base || ok != c.ok || ok && (s.gz != c.gz || s.rank != c.rank) {
			t.Errorf("%s: base %q, %+v, %v", c.name, base, s, ok)
		}
	}
}

func TestSiblingsInOrder(t *testing.T) {
	got := siblingsOf("app.log", []string{"app.log", "app.log.1", "app.log.10.gz", "app.log.2", "app.log.2.gz", "app.log.3.tmp", "other.log", "app.log-20261121", "app.log-20261122.gz"})
	var names []string
	for _, s := range got {
		names = append(names, s.name)
	}
	want := "app.log.10.gz app.log.2 app.log.1 app.log-20261121 app.log-20261122.gz app.log"
	if strings.Join(names, " ") != want {
		t.Errorf("got %v, want %s", names, want)
	}
}

func TestParseNames(t *testing.T) {
	id := strings.Repeat("ab", 32)
	ns, pod, c, gotID, ok := parseContainerLink("web-0_shop_nginx-side-" + id + ".log")
	if !ok || ns != "shop" || pod != "web-0" || c != "nginx-side" || gotID != id {
		t.Errorf("got %q %q %q %q %v", ns, pod, c, gotID, ok)
	}
	for _, bad := range []string{"", "x.log", "a_b_c.log", "a_b_c-" + id, "a_b_-" + id + ".log", "a_b_c-" + strings.ToUpper(id) + ".log", "_b_c-" + id + ".log"} {
		if _, _, _, _, ok := parseContainerLink(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, _, _, ok := parsePodDir("kube-system_etcd-node1_0123abcd"); !ok {
		t.Error("a static pod's directory was refused")
	}
	for _, bad := range []string{"", "a_b", "a_b_c_d", "__", "a__c"} {
		if _, _, _, ok := parsePodDir(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
	for name, want := range map[string]int{"0.log": 0, "17.log": 17, "x.log": -1, "1": -1, ".log": -1, "9999999999.log": -1, "-1.log": -1} {
		n, ok := parseRestart(name)
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d, %v", name, n, ok)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"0.log.20261122-101112.gz", "app.log.1", "ns_pod_uid", "a_b_c-0a.log", "..", "-.-."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if base, s, ok := splitRotated(name); ok {
			if !strings.HasPrefix(name, base) || s.name != name || (name != "" && base == "") {
				t.Errorf("%q: base %q, %+v", name, base, s)
			}
			if got := siblingsOf(base, []string{name}); len(got) != 1 {
				t.Errorf("%q is not among the files of %q", name, base)
			}
		}
		parsePodDir(name)
		parseContainerLink(name)
		parseRestart(name)
	})
}

func TestStartAtTheEnd(t *testing.T) {
	n := newNode(t)
	n.cfg.Start = EndOfFile
	p := n.path("a", "c", "0.log")
	appendFile(t, p, n.out("old"))
	n.start()
	n.step(time.Second)
	appendFile(t, p, n.out("new"))
	appendFile(t, n.path("b", "c", "0.log"), n.out("later file"))
	n.settle()
	got := n.sink.bodies()
	slices.Sort(got)
	wantBodies(t, got, "later file", "new")
	n.stop()
	n.start()
	n.settle()
	if len(n.sink.all) != 2 {
		t.Errorf("%d records", len(n.sink.all))
	}
}

func TestExcludePatternsAndConfigErrors(t *testing.T) {
	n := newNode(t)
	p := n.plain("*.log")
	n.cfg.Excludes = []string{"secret*", p + "/whole.log"}
	for _, f := range []string{"a.log", "secret.log", "whole.log"} {
		appendFile(t, p+"/"+f, f+"\n")
	}
	n.start()
	n.settle()
	wantBodies(t, n.sink.bodies(), "a.log")
	for _, c := range []Config{
		{},
		{Pods: "/x"},
		{Paths: []string{"["}, Describe: n.cfg.Describe},
		{Pods: "/x", Describe: n.cfg.Describe, Hold: Hold{By: HoldLink}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
