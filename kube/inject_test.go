package kube

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

var testInject = InjectOptions{Image: "weir:v1", CPU: "10m", Memory: "32Mi", MemoryLimit: "96Mi"}

// aPod is a pod that writes files, as the API server hands it over.
func aPod(edit func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{}
	text := `{
		"metadata": {"generateName": "web-", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"weir.dev/sidecar": "stream", "weir.dev/files": "logs:*.log"}},
		"spec": {
			"containers": [{"name": "web", "image": "web:1", "volumeMounts": [{"name": "logs", "mountPath": "/var/log/web"}, {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
			"volumes": [{"name": "logs", "emptyDir": {}}, {"name": "kube-api-access-x", "projected": {"sources": []}}]
		}
	}`
	if err := json.Unmarshal([]byte(text), p); err != nil {
		panic(err)
	}
	if edit != nil {
		edit(p)
	}
	return p
}

// injected applies what Inject returns, as the API server does, and returns the pod.
func injected(t *testing.T, pod *corev1.Pod, o InjectOptions) (*corev1.Pod, Injection) {
	t.Helper()
	in := Inject(pod, o)
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	for _, op := range in.Patch {
		if err := applyAdd(m, op); err != nil {
			t.Fatal(err)
		}
	}
	if text, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	out := &corev1.Pod{}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(out); err != nil {
		t.Fatal(err)
	}
	return out, in
}

// inputsOf returns what the sidecar reads, by id.
func inputsOf(t *testing.T, c *corev1.Container) map[string]map[string]any {
	t.Helper()
	for i, a := range c.Args {
		if text, ok := strings.CutPrefix(a, "inputs="); ok && c.Args[i-1] == "--set" {
			var m map[string]map[string]any
			if err := json.Unmarshal([]byte(text), &m); err != nil {
				t.Fatalf("%s: %v", a, err)
			}
			return m
		}
	}
	t.Fatalf("no inputs in %q", c.Args)
	return nil
}

func TestInjectStream(t *testing.T) {
	pod, in := injected(t, aPod(nil), testInject)
	if len(in.Warnings) > 0 || len(pod.Spec.InitContainers) != 1 {
		t.Fatalf("warnings %q, %d init containers", in.Warnings, len(pod.Spec.InitContainers))
	}
	c := &pod.Spec.InitContainers[0]
	if c.Name != "weir" || c.Image != "weir:v1" || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways || c.Args[0] != "sidecar" {
		t.Errorf("%+v", c)
	}
	if got := inputsOf(t, c)["file/1"]; !reflect.DeepEqual(got["paths"], []any{"/var/log/web/*.log"}) {
		t.Errorf("reads %v", got)
	}
	if !slices.Contains(c.Args, `outputs={"stdout":{"format":"raw","prefix":true}}`) || !slices.Contains(c.Args, "13s") || !slices.Contains(c.Args, "sidecar.native=true") {
		t.Errorf("%q", c.Args)
	}
	var mounts []string
	for _, m := range c.VolumeMounts {
		mounts = append(mounts, m.Name+" "+m.MountPath)
	}
	if want := []string{"logs /var/log/web", "weir-podinfo /etc/podinfo", "weir-state /var/lib/weir"}; !slices.Equal(mounts, want) {
		t.Errorf("mounts %q", mounts)
	}
	s := c.SecurityContext
	if !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || s.Capabilities.Drop[0] != "ALL" || s.SeccompProfile.Type != "RuntimeDefault" || s.RunAsUser != nil {
		t.Errorf("%+v", s)
	}
	if pod.Annotations[AnnotationInjected] != "stream" || len(pod.Spec.Volumes) != 4 || !reflect.DeepEqual(pod.Spec.Containers, aPod(nil).Spec.Containers) {
		t.Errorf("annotations %v, %d volumes", pod.Annotations, len(pod.Spec.Volumes))
	}
	// A second time nothing happens: the API server asks again when others have
	// changed the pod.
	if again := Inject(pod, testInject); again.Patch != nil || len(again.Warnings) > 0 {
		t.Errorf("again: %+v", again)
	}
}

func TestInjectVariants(t *testing.T) {
	user, group, grace, yes := int64(1000), int64(2000), int64(5), true
	for name, c := range map[string]struct {
		edit  func(*corev1.Pod)
		check func(t *testing.T, pod *corev1.Pod, c *corev1.Container)
	}{
		"one file has no prefix": {func(p *corev1.Pod) { p.Annotations[AnnotationFiles] = "logs:a.log" }, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if !slices.Contains(c.Args, `outputs={"stdout":{"format":"raw","prefix":false}}`) {
				t.Errorf("%q", c.Args)
			}
		}},
		"other init containers come behind": {func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "migrate"}} }, func(t *testing.T, pod *corev1.Pod, _ *corev1.Container) {
			if len(pod.Spec.InitContainers) != 2 || pod.Spec.InitContainers[1].Name != "migrate" {
				t.Errorf("%+v", pod.Spec.InitContainers)
			}
		}},
		"the application's user": {func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &grace, RunAsNonRoot: &yes}
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: &user, RunAsGroup: &group}
		}, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if *c.SecurityContext.RunAsUser != user || *c.SecurityContext.RunAsGroup != group || !*c.SecurityContext.RunAsNonRoot {
				t.Errorf("%+v", c.SecurityContext)
			}
		}},
		"a pod that must not be root": {func(p *corev1.Pod) { p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes} }, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if *c.SecurityContext.RunAsUser != 65532 {
				t.Errorf("%+v", c.SecurityContext)
			}
		}},
		"a short grace period": {func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = &grace }, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if i := slices.Index(c.Args, "--deadline"); c.Args[i+1] != "3s" {
				t.Errorf("%q", c.Args)
			}
		}},
		"a part of a volume": {func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts[0].SubPath = "web" }, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if got := inputsOf(t, c)["file/1"]["paths"]; !reflect.DeepEqual(got, []any{"/weir/logs/*.log"}) {
				t.Errorf("reads %v", got)
			}
		}},
		"a volume where weir has its own": {func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts[0].MountPath = "/var/lib" }, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if c.VolumeMounts[0].MountPath != "/weir/logs" {
				t.Errorf("%+v", c.VolumeMounts)
			}
		}},
		"a volume that outlives the pod keeps the positions": {func(p *corev1.Pod) {
			p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "x"}}
		}, func(t *testing.T, pod *corev1.Pod, c *corev1.Container) {
			if len(c.VolumeMounts) != 2 || len(pod.Spec.Volumes) != 3 || inputsOf(t, c)["file/1"]["reclaim"] != nil {
				t.Errorf("%+v", c.VolumeMounts)
			}
		}},
		"files of two containers": {func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "db", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}})
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
			p.Annotations[AnnotationFiles+".db"] = "data:db.log;multiline=first:^\\d;rate=100/s"
		}, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			want := map[string]map[string]any{
				"file/1": {"paths": []any{"/var/log/web/*.log"}, "labels": map[string]any{"container": "web"}, "reclaim": "punch"},
				"file/2": {"paths": []any{"/data/db.log"}, "labels": map[string]any{"container": "db"}, "multiline": "first:^\\d", "rate_limit": "100/s", "reclaim": "punch"},
			}
			if got := inputsOf(t, c); !reflect.DeepEqual(got, want) {
				t.Errorf("%v", got)
			}
		}},
		"of a ReplicaSet": {func(p *corev1.Pod) {
			if err := json.Unmarshal([]byte(`{"labels": {"pod-template-hash": "7f9c"}, "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7f9c", "controller": true}]}`), &p.ObjectMeta); err != nil {
				panic(err)
			}
		}, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "POD_WORKLOAD" && e.Value == "deployment/web" }) {
				t.Errorf("%+v", c.Env)
			}
		}},
		"a container that is root in a pod that is not": {func(p *corev1.Pod) {
			no, root := false, int64(0)
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes}
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsNonRoot: &no, RunAsUser: &root}
		}, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if *c.SecurityContext.RunAsNonRoot || *c.SecurityContext.RunAsUser != 0 {
				t.Errorf("%+v", c.SecurityContext)
			}
		}},
		"a volume below weir's own": {func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts[0].MountPath = "/etc/podinfo/x" }, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if c.VolumeMounts[0].MountPath != "/weir/logs" {
				t.Errorf("%+v", c.VolumeMounts)
			}
		}},
		"one volume where another's place would be": {func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "a", MountPath: "/weir/logs"}, {Name: "logs", MountPath: "/x", SubPath: "y"}}
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "a", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
			p.Annotations[AnnotationFiles] = "a:*.log,logs:*.log"
		}, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if c.VolumeMounts[0].MountPath == c.VolumeMounts[1].MountPath {
				t.Errorf("%+v", c.VolumeMounts)
			}
		}},
		"references of the configuration": {func(p *corev1.Pod) { p.Annotations[AnnotationFiles] = "logs:${env:HOME}.log" }, func(t *testing.T, _ *corev1.Pod, c *corev1.Container) {
			if !strings.Contains(strings.Join(c.Args, " "), "$${env:HOME}.log") {
				t.Errorf("%q", c.Args)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			pod, in := injected(t, aPod(c.edit), testInject)
			if in.Patch == nil || len(in.Warnings) > 0 {
				t.Fatalf("%+v", in)
			}
			c.check(t, pod, &pod.Spec.InitContainers[0])
		})
	}
}

func TestInjectShip(t *testing.T) {
	ship := func(p *corev1.Pod) {
		p.Annotations[AnnotationSidecar] = "ship"
		p.Annotations[AnnotationFiles] = "logs:*.log;parser=json"
	}
	o := testInject
	o.ShipConfig = map[string]json.RawMessage{"outputs": json.RawMessage(`{"otlp":{"url":"http://weir-gateway.logging:4318"}}`)}
	pod, in := injected(t, aPod(ship), o)
	if in.Patch == nil || len(in.Warnings) > 0 {
		t.Fatalf("%+v", in)
	}
	c := &pod.Spec.InitContainers[0]
	if !slices.Contains(c.Args, `outputs={"otlp":{"url":"http://weir-gateway.logging:4318"}}`) || inputsOf(t, c)["file/1"]["parse"] != "json" || slices.Contains(c.Args, "-c") {
		t.Errorf("%q", c.Args)
	}
	pod, in = injected(t, aPod(func(p *corev1.Pod) { ship(p); p.Annotations[AnnotationConfig] = "web-logs" }), o)
	c = &pod.Spec.InitContainers[0]
	if in.Patch == nil || !slices.Contains(c.Args, "/etc/weir") || strings.Contains(strings.Join(c.Args, " "), "outputs=") {
		t.Errorf("%q", c.Args)
	}
	if v := pod.Spec.Volumes[len(pod.Spec.Volumes)-1]; v.Name != "weir-config" || v.ConfigMap.Name != "web-logs" {
		t.Errorf("%+v", v)
	}
	if in = Inject(aPod(ship), testInject); in.Patch != nil || len(in.Warnings) != 1 || !strings.Contains(in.Warnings[0], "needs a destination") {
		t.Errorf("%+v", in)
	}
}

// What is wrong is told, and the pod stays as it is.
func TestInjectWarnings(t *testing.T) {
	set := func(key, value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations[key] = value }
	}
	o := testInject
	o.Check = func(s FileSpec) error {
		if s.Multiline == "cobol" {
			return errText(`multiline: unknown value "cobol"`)
		}
		return nil
	}
	for want, edit := range map[string]func(*corev1.Pod){
		`is "yes"; want stream or ship`:        set(AnnotationSidecar, "yes"),
		"annotation weir.dev/files is missing": func(p *corev1.Pod) { delete(p.Annotations, AnnotationFiles) },
		`no volume "log"; it has: logs`:        set(AnnotationFiles, "log:*.log"),
		`"logs": write <volume>:<glob>`:        set(AnnotationFiles, "logs"),
		`a part ".."`:                          set(AnnotationFiles, "logs:../x"),
		`unknown value "cobol"`:                set(AnnotationFiles, "logs:x;multiline=cobol"),
		`has a container "weir" already`:       func(p *corev1.Pod) { p.Spec.Containers[0].Name = "weir" },
		`has a volume "weir-state" already`: func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "weir-state"})
		},
		"pods of Windows": func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} },
		`weir.dev/files.nobody: the pod has no container "`: func(p *corev1.Pod) {
			delete(p.Annotations, AnnotationFiles)
			p.Annotations[AnnotationFiles+".nobody"] = "logs:x"
		},
	} {
		pod, in := injected(t, aPod(edit), o)
		if in.Patch != nil || !in.Asked || len(in.Warnings) == 0 || !strings.Contains(strings.Join(in.Warnings, "\n"), want) {
			t.Errorf("%s: %+v", want, in)
		}
		if !reflect.DeepEqual(pod, aPod(edit)) {
			t.Errorf("%s: the pod has changed", want)
		}
	}
	if err := (&InjectOptions{Image: "x", Memory: "128Mi"}).SetDefaults(); err == nil || !strings.Contains(err.Error(), "less than what it requests") {
		t.Errorf("a limit below the request: %v", err)
	}
	// One wrong entry does not keep the others from being read.
	pod, in := injected(t, aPod(set(AnnotationFiles, "logs:a.log,nothing:b.log")), o)
	if in.Patch == nil || len(in.Warnings) != 1 || len(inputsOf(t, &pod.Spec.InitContainers[0])) != 1 {
		t.Errorf("%+v", in)
	}
	if in := Inject(aPod(func(p *corev1.Pod) { p.Annotations = nil }), o); in.Asked || in.Patch != nil || in.Warnings != nil {
		t.Errorf("%+v", in)
	}
}

type errText string

func (e errText) Error() string { return string(e) }

func review(pod string) string {
	return `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1","kind":{"group":"","version":"v1","kind":"Pod"},"operation":"CREATE","dryRun":true,"object":` + pod + `}}`
}

func TestAdmit(t *testing.T) {
	text, err := json.Marshal(aPod(nil))
	if err != nil {
		t.Fatal(err)
	}
	bad, err := json.Marshal(aPod(func(p *corev1.Pod) { p.Annotations[AnnotationFiles] = "x:" + strings.Repeat("é", 300) }))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		body, result string
		patch        bool
		warnings     int
	}{
		{review(string(text)), AdmitInjected, true, 0},
		{review(`{"metadata":{}}`), AdmitNone, false, 0},
		{review(`{"metadata":{"annotations":[]}}`), AdmitFailed, false, 1},
		{review(string(bad)), AdmitWarned, false, 1},
		{strings.Replace(review(string(text)), "CREATE", "UPDATE", 1), AdmitNone, false, 0},
		{strings.Replace(review(string(text)), `"kind":"Pod"`, `"kind":"Node"`, 1), AdmitNone, false, 0},
	} {
		answer, result, err := Admit([]byte(c.body), testInject)
		if err != nil || result != c.result {
			t.Errorf("%.80s: %s, %v", c.body, result, err)
			continue
		}
		var r admissionv1.AdmissionReview
		if err := json.Unmarshal(answer, &r); err != nil {
			t.Fatal(err)
		}
		resp := r.Response
		if r.Kind != "AdmissionReview" || r.Request != nil || resp.UID != "u-1" || !resp.Allowed || (resp.Patch != nil) != c.patch || len(resp.Warnings) != c.warnings {
			t.Errorf("%.80s: %s", c.body, answer)
		}
		for _, w := range resp.Warnings {
			if len([]rune(w)) > 256 {
				t.Errorf("a warning of %d characters", len([]rune(w)))
			}
		}
	}
	for _, body := range []string{"", "{}", "[]", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"x"}}`, strings.Repeat("[", 100000)} {
		if _, _, err := Admit([]byte(body), testInject); err == nil {
			t.Errorf("%.40q: no error", body)
		}
	}
}

func FuzzAdmit(f *testing.F) {
	text, err := json.Marshal(aPod(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(review(string(text))))
	f.Add([]byte(review(`{"metadata":{"annotations":{"weir.dev/sidecar":"ship","weir.dev/files":"a:b,c:d"}},"spec":{"volumes":[{"name":"a"}],"initContainers":[{}]}}`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		answer, result, err := Admit(body, testInject)
		if err != nil {
			return
		}
		var r admissionv1.AdmissionReview
		if err := json.Unmarshal(answer, &r); err != nil || !r.Response.Allowed {
			t.Fatalf("%s: %s", body, answer)
		}
		if (r.Response.Patch != nil) != (result == AdmitInjected) {
			t.Fatalf("%s: %s", result, answer)
		}
	})
}

func TestInjectObject(t *testing.T) {
	pod, err := json.Marshal(aPod(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`{"kind":"Pod",` + string(pod[1:]),
		`{"kind":"Deployment","spec":{"template":` + string(pod) + `}}`,
		`{"kind":"CronJob","spec":{"jobTemplate":{"spec":{"template":` + string(pod) + `}}}}`,
		`{"kind":"List","items":[{"kind":"Service"},{"kind":"Job","spec":{"template":` + string(pod) + `}}]}`,
	} {
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if n, warnings, err := InjectObject(m, testInject); n != 1 || len(warnings) > 0 || err != nil {
			t.Errorf("%.40s: %d, %q, %v", text, n, warnings, err)
		}
		if out, _ := json.Marshal(m); strings.Count(string(out), `"image":"weir:v1"`) != 1 {
			t.Errorf("%.40s: %s", text, out)
		}
		if n, _, err := InjectObject(m, testInject); n != 0 || err != nil {
			t.Errorf("%.40s: injected twice", text)
		}
	}
	if _, _, err := InjectObject(map[string]any{"kind": "Deployment"}, testInject); err == nil {
		t.Error("no error for a Deployment without a template")
	}
}
