package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outputOf returns the settings of an output, which must be there.
func outputOf[T any](t *testing.T, cfg *Config, id ID) T {
	t.Helper()
	out := cfg.Output(id)
	if out == nil {
		t.Fatalf("no output %s", id)
	}
	s, ok := out.Settings.(T)
	if !ok {
		t.Fatalf("%s is a %T", id, out.Settings)
	}
	return s
}

func TestEmptyIsEnough(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "{}", "~", "inputs:\noutputs:\n", "outputs: {stdout: }"} {
		cfg, warnings, err := Load(Options{Files: []string{"weir.yaml"}, ReadFile: texts("weir.yaml", text), Preset: "up", Env: env()})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if n := len(warnings.List()); n != 0 {
			t.Errorf("%q: %s", text, warnings.Summary())
		}
		if got := outputOf[*StdoutOutput](t, cfg, "stdout").Format; got != "line" {
			t.Errorf("%q: format %s", text, got)
		}
		in, ok := cfg.Inputs[0].Settings.(*KubernetesInput)
		if !ok || in.Root != "/var/log/pods" || in.MaxLine != 1<<20 || len(cfg.Pipeline) != 1 || cfg.Pipeline[0].Parse.Format != "auto" {
			t.Errorf("%q: %+v", text, cfg.Inputs)
		}
	}
}

func TestPrecedence(t *testing.T) {
	const file = "log: {level: warn}\noutputs: {elasticsearch/main: {url: 'http://file', naming: ecs}, stdout: {format: raw}}\n"
	o := Options{Files: []string{"w"}, ReadFile: texts("w", file), Preset: "up",
		Defaults: map[string]string{"node": "from-host", "state": "/from/host"},
		Env: env("WEIR_LOG_LEVEL=error", "WEIR_LOG_FORMAT=json", "WEIR_OUTPUTS_ELASTICSEARCH_MAIN_NAMING=fluentd", "WEIR_STATE=",
			"WEIR_OUTPUTS_LOKI_URLS=http://a, http://b", "WEIR_OUTPUTS_LOKI_HEADERS={X-A: '${env:X}'}", "WEIR_CLUSTER=${env:X}", "X=x",
			"WEIR_PIPELINE=[{parse: json}, {remove: a}]"),
		Set: []string{"log.format=text", "outputs.elasticsearch/main.batch.wait=2s", "outputs.loki.labels=[pod,app]", "inputs.kubernetes=off",
			"outputs.loki.headers.X-B=${env:X}", "inputs.file={paths: [/a, '/${env:X}']}"}}
	cfg, _, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	es, loki := outputOf[*ElasticsearchOutput](t, cfg, "elasticsearch/main"), outputOf[*LokiOutput](t, cfg, "loki")
	for _, c := range []struct{ got, want any }{
		{cfg.Log, LogConfig{"error", "text"}},
		{cfg.Node, "from-host"}, {cfg.State, Path("/from/host")},
		{cfg.Cluster, "${env:X}"}, // the environment's values are final
		{es.Naming, "fluentd"}, {es.URL, URL("http://file")}, {es.Batch.Wait.String(), "2s"},
		{outputOf[*StdoutOutput](t, cfg, "stdout").Format, "raw"},
		{loki.Places(), []Place{{"http://a", 0, "urls[0]"}, {"http://b", 0, "urls[1]"}}}, {loki.Labels, []string{"pod", "app"}},
		{loki.Headers, map[string]Secret{"X-A": "${env:X}", "X-B": "x"}},
		{len(cfg.Inputs), 1}, {cfg.Inputs[0].Settings.(*FileInput).Paths, []Glob{"/a", "/x"}},
		{cfg.Pipeline, []Step{{Kind: "parse", Parse: Parser{Format: "json"}}, {Kind: "remove", Remove: []string{"a"}}}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("got %v, want %v", string(mustJSON(c.got)), c.want)
		}
	}
}

func mustJSON(v any) []byte { return fmt.Appendf(nil, "%#v", v) }

// A list of the user's replaces the preset's, a map adds to it.
func TestPresetIsBeneath(t *testing.T) {
	cfg, _, err := Load(Options{Files: []string{"w"}, Preset: "agent", Env: env(), ReadFile: texts("w",
		"pipeline: []\ninputs: {kubernetes: {max_line: 2MiB}, file: {paths: /x}}\noutputs: {file: {path: /y}}\n")})
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Pipeline) != 0 || len(cfg.Inputs) != 2 || cfg.Input("kubernetes").Settings.(*KubernetesInput).MaxLine != 2<<20 {
		t.Errorf("%+v", cfg)
	}
	if _, _, err := Load(Options{Preset: "agnt"}); err == nil || !strings.Contains(err.Error(), `did you mean "agent"`) {
		t.Errorf("error is %v", err)
	}
}

// Two variables cannot be told apart: said, not guessed.
func TestAmbiguousVariable(t *testing.T) {
	_, _, err := load("outputs: {stdout/a-b: {}, stdout/a_b: {}}", "WEIR_OUTPUTS_STDOUT_A_B_FORMAT=raw")
	if err == nil || !strings.Contains(err.Error(), "means both outputs.stdout/a-b.format and outputs.stdout/a_b.format") {
		t.Errorf("error is %v", err)
	}
	if _, _, err := load("outputs: {stdout/a-b: {}, stdout/a_b: {}}"); err != nil {
		t.Error(err)
	}
}

// A value that is filled in never becomes structure, whatever it holds, and is
// not looked at for references again.
func TestReferencesAreOnlyText(t *testing.T) {
	evil := "x}, y: {z: ${env:Y} $${a}\n- b: 'c\" # d"
	o := Options{Files: []string{"dir/w"}, Incomplete: true, Env: env("X="+evil, "Y=no", "EMPTY="),
		ReadFile: texts("dir/w", `
cluster: ${env:X}
node: '<${env:X}|${file:/f}|${file:rel}|$${env:X}|${env:NO:-d ${env:Y}}|${env:EMPTY:-e}|${env:EMPTY}|${name}|${name:-x}>'
outputs: {stdout: {batch: {bytes: '${env:EMPTY}'}}, elasticsearch: {url: http://e, index: '${namespace:-none}-%Y'}}
`[1:], "/f", "file\r\n", "dir/rel", "rel\n\n")}
	cfg, _, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Cluster != evil {
		t.Errorf("cluster is %q", cfg.Cluster)
	}
	if want := "<" + evil + "|file|rel\n|${env:X}|d no|e||${name}|${name:-x}>"; cfg.Node != want {
		t.Errorf("node is %q, want %q", cfg.Node, want)
	}
	if n := outputOf[*StdoutOutput](t, cfg, "stdout").Batch.Bytes; n != 256<<10 {
		t.Errorf("an empty value is %v, not the default", n)
	}
	if diff := cmp.Diff([]string{"dir/w", "/f", "dir/rel"}, cfg.Files()); diff != "" {
		t.Error(diff)
	}
}

func TestAliasesAndMerges(t *testing.T) {
	cfg := mustLoad(t, `
outputs:
  loki/a: &l
    url: http://a
    retry: &r {max_delay: 5s}
  loki/b: {<<: *l, url: http://b}
  otlp: {<<: [{url: http://c}, {url: http://d, timeout: 1s}], retry: *r}
`[1:])
	a, b, o := outputOf[*LokiOutput](t, cfg, "loki/a"), outputOf[*LokiOutput](t, cfg, "loki/b"), outputOf[*OTLPOutput](t, cfg, "otlp")
	if a.URL != "http://a" || b.URL != "http://b" || b.Retry.MaxDelay != a.Retry.MaxDelay || o.URL != "http://c" || o.Timeout.String() != "1s" || o.Retry != a.Retry {
		t.Errorf("%+v %+v %+v", a, b, o)
	}
}

// Aliases of aliases are followed only so far.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		fmt.Fprintf(&b, "a%d: &a%d [", i+1, i+1)
		b.WriteString(strings.Repeat(fmt.Sprintf("*a%d, ", i), 9) + "]\n")
	}
	_, _, err := load(b.String())
	if err == nil || !strings.Contains(err.Error(), "too much configuration") {
		t.Errorf("error is %.200v", err)
	}
	_, _, err = load("a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000))
	if err == nil || !strings.Contains(err.Error(), "nested too deeply") {
		t.Errorf("error is %.200v", err)
	}
}

// Defaults follow what is given, so that a small buffer needs no small batch.
func TestDefaultsFollow(t *testing.T) {
	cfg := mustLoad(t, "outputs: {stdout: {buffer: {memory: 64KiB}, retry: {max_delay: 100ms}}, file: {path: /x, batch: {bytes: 32MiB}, retry: {min_delay: 1m}}}")
	a, b := outputOf[*StdoutOutput](t, cfg, "stdout"), outputOf[*FileOutput](t, cfg, "file")
	if a.Batch.Bytes != 64<<10 || a.Retry.MinDelay != a.Retry.MaxDelay || b.Buffer.Memory != 64<<20 || b.Retry.MaxDelay != b.Retry.MinDelay {
		t.Errorf("%+v %+v", a.Delivery, b.Delivery)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.yaml"), "pipeline: [{drop: '{a=\"2\"}'}]\noutputs: {stdout: {}}")
	write(t, filepath.Join(dir, "a.yml"), "pipeline: [{drop: '{a=\"1\"}'}]\ninputs: {file: {paths: /x}}")
	write(t, filepath.Join(dir, ".hidden.yaml"), "nonsense: x")
	write(t, filepath.Join(dir, "README"), "nonsense: x")
	cfg, _, err := Load(Options{Files: []string{dir}, Env: env()})
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Pipeline) != 2 || cfg.Pipeline[0].Drop != `{a="1"}` || len(cfg.Outputs) != 1 {
		t.Errorf("%+v", cfg)
	}
	_, _, err = Load(Options{Files: []string{filepath.Join(dir, "absent.yaml")}, Env: env()})
	if err == nil || !strings.Contains(err.Error(), "absent.yaml: error: cannot read the file: no such file or directory") {
		t.Errorf("error is %v", err)
	}
}

// A ConfigMap is mounted as links to a link that kubelet swaps.
func TestFingerprintFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "..v1", "weir.yaml"), "cluster: a")
	write(t, filepath.Join(dir, "..v2", "weir.yaml"), "cluster: b")
	link := func(to string) {
		t.Helper()
		tmp := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(to, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	link("..v1")
	if err := os.Symlink(filepath.Join("..data", "weir.yaml"), filepath.Join(dir, "weir.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{{dir}, {filepath.Join(dir, "weir.yaml")}} {
		link("..v1")
		one := Fingerprint(paths)
		if Fingerprint(paths) != one {
			t.Error("not the same twice")
		}
		link("..v2")
		if Fingerprint(paths) == one {
			t.Errorf("%v: the swap is not seen", paths)
		}
		link("..v1")
		if Fingerprint(paths) != one {
			t.Error("not the same when swapped back")
		}
	}
	absent := []string{filepath.Join(dir, "x")}
	before := Fingerprint(absent)
	write(t, absent[0], "")
	if Fingerprint(absent) == before {
		t.Error("an empty file is the same as none")
	}
}

func TestDiff(t *testing.T) {
	const base = "inputs: {file: {paths: /x}, file/b: {paths: /y}}\noutputs: {loki: {url: http://l, auth: {bearer: '${file:/secret}'}}, stdout: {}, otlp: {url: http://o}}\n"
	get := func(text, secret string) *Config {
		t.Helper()
		cfg, _, err := Load(Options{Files: []string{"w"}, Incomplete: true, Env: env(), ReadFile: texts("w", text, "/secret", secret)})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	a := get(base, "s1")
	for name, tc := range map[string]struct {
		text, secret string
		want         Changes
	}{
		"same":   {base, "s1", Changes{}},
		"layout": {"# x\noutputs:\n  otlp: {url: 'http://o', timeout: 30s}\n  stdout: {format: json}\n  loki: {auth: {bearer: s1}, url: http://l}\ninputs: {file/b: {paths: [/y]}, file: {paths: [/x]}}\n", "", Changes{}},
		"secret": {base, "s2", Changes{ChangedOutputs: []ID{"loki"}}},
		"components": {"inputs: {file: {paths: /x, idle: 1s}, kubernetes: {}}\noutputs: {loki: {url: http://l, auth: {bearer: s1}}, stdout: {}, jsonl: {url: http://o}}", "",
			Changes{AddedInputs: []ID{"kubernetes"}, RemovedInputs: []ID{"file/b"}, ChangedInputs: []ID{"file"}, AddedOutputs: []ID{"jsonl"}, RemovedOutputs: []ID{"otlp"}}},
		"other": {base + "log: {level: warn}\npipeline: [{drop: '{a=\"b\"}'}]\nroutes: [{to: [stdout, loki, otlp]}]\nstate: /s\n", "s1", Changes{Other: []string{"pipeline", "routes", "store", "state", "log"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Diff(a, get(tc.text, tc.secret))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if got.None() != reflect.DeepEqual(tc.want, Changes{}) {
				t.Error("None is wrong")
			}
		})
	}
}

func TestProblem(t *testing.T) {
	cfg := mustLoad(t, "outputs:\n  loki:\n    url: http://l\n    auth: {bearer: canary}\n    tls: {}\n")
	err := cfg.Problem("outputs.loki.url", "no such host; not canary")
	if got, want := err.Error(), "weir.yaml:3:10: error: outputs.loki.url: no such host; not ******\n   3 │     url: http://l\n     │          ^^^^^^^^"; got != want {
		t.Errorf("got\n%s", got)
	}
	if got := cfg.Problem("outputs.loki.tls.ca", "x").Error(); !strings.HasPrefix(got, "weir.yaml:5:5: error: outputs.loki.tls.ca: x") {
		t.Errorf("got\n%s", got)
	}
}

func TestColor(t *testing.T) {
	_, _, err := load("clustr: x")
	var b strings.Builder
	err.(*Errors).Format(&b, true)
	want := "\x1b[1mweir.yaml:1:1:\x1b[0m \x1b[1;31merror:\x1b[0m unknown key \"clustr\"\n   1 \x1b[2m│\x1b[0m clustr: x\n     \x1b[2m│\x1b[0m \x1b[1;31m^^^^^^\x1b[0m did you mean"
	if !strings.HasPrefix(b.String(), want) {
		t.Errorf("got %q", b.String())
	}
}

// TestFailure112_SecretsRedactedInShow: nothing that Show, fmt, or an error
// about another value prints holds a secret, wherever it came from.
func TestFailure112_SecretsRedactedInShow(t *testing.T) {
	o := Options{Files: []string{"w"}, Incomplete: true,
		Env: env("P=canary-env", "WEIR_OUTPUTS_OPENSEARCH_AUTH_BEARER=canary-direct"),
		Set: []string{"outputs.opensearch.headers.X=canary-flag"},
		ReadFile: texts("/f", "canary-file", "w", `
outputs:
  elasticsearch/a: {url: 'http://h', auth: {user: u, password: canary-plain}}
  elasticsearch/b: {url: 'http://h', auth: {user: u, password: '${env:P}'}}
  elasticsearch/c: {url: 'http://h', auth: {user: u, password: '${file:/f}'}}
  elasticsearch/d: {url: 'http://h', auth: {user: u, password: '${env:NONE:-canary-default}'}}
  elasticsearch/e: {url: 'http://h', auth: {user: u, password: 'canary${env:P}'}}
  elasticsearch/f: {url: 'http://h', auth: {api_key: |
    canary-block
    }}
  loki: {url: 'http://user:canary@h/?token=canary', headers: {Authorization: canary-header}}
  opensearch: {url: http://h}
`)}
	// The block scalar above is no YAML inside braces; it is here so that the
	// first part looks at an error too.
	_, _, err := Load(o)
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("error is %v", err)
	}
	_, _, err2 := load("outputs: {loki: {url: http://h, auth: {bearer: canary}, timeout: canary}}")
	if err2 == nil {
		t.Error("no error")
	}
	o.ReadFile = texts("/f", "canary-file", "w", strings.ReplaceAll(string(must(o.ReadFile("w"))), "|\n    canary-block\n    ", "canary-block"))
	cfg, warnings, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	warnings.Format(&b, false)
	for _, origins := range []bool{false, true} {
		if err := cfg.Show(&b, origins); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintf(&b, "%v %+v %#v %v %+v %#v\n", cfg, cfg, *cfg, warnings, warnings, *warnings)
	fmt.Fprintf(&b, "%v %+v %#v\n", err2, err2, err2)
	for _, out := range cfg.Outputs {
		fmt.Fprintf(&b, "%v %+v %#v %s %q\n", out, out, out, out.Settings, out.Settings)
		fmt.Fprintf(&b, "%+v\n", out.Settings.Endpoints())
	}
	if strings.Contains(b.String(), "canary") {
		t.Errorf("a secret is shown:\n%s", b.String())
	}
	for _, want := range []string{"password: '${env:P}'", "password: '${file:/f}'", "password: '[redacted]'", "bearer: '[redacted]'"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not shown:\n%s", want, b.String())
		}
	}
	if outputOf[*ElasticsearchOutput](t, cfg, "elasticsearch/c").Auth.Password != "canary-file" {
		t.Error("the secret is lost")
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}
