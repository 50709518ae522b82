package peers

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// node makes a log directory with three containers in two pods.
func node(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "pods")
	for _, c := range []string{"shop_web-1_uid-a/app", "shop_web-1_uid-a/proxy", "payments_db-0_uid-b/db"} {
		dir := filepath.Join(root, c)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "0.log"), []byte(c), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestPrepare makes every configuration of every peer.
func TestPrepare(t *testing.T) {
	root := node(t)
	for _, p := range All() {
		for _, form := range p.Forms {
			t.Run(p.Name+" "+form.String(), func(t *testing.T) {
				j := Job{Form: form, Binary: "/bin/peer", Root: root, URL: "http://127.0.0.1:19200", Host: "127.0.0.1", Port: 19200, TCPPort: 19514, Dir: t.TempDir()}
				c, err := p.Prepare(j)
				if err != nil {
					t.Fatal(err)
				}
				if c.Args[0] != j.Binary {
					t.Errorf("starts %s", c.Args[0])
				}
				all := strings.Join(c.Args, " ")
				for _, f := range c.Files {
					text, err := os.ReadFile(f)
					if err != nil {
						t.Fatal(err)
					}
					all += string(text)
				}
				if i := strings.Index(all, "{{"); i >= 0 {
					t.Errorf("left as it was: %.40s", all[i:])
				}
				port := "19200"
				if form.Protocol == Lines {
					port = "19514"
				}
				for _, want := range []string{port, "127.0.0.1", j.Dir} {
					if !strings.Contains(all, want) {
						t.Errorf("no %s in\n%s", want, all)
					}
				}
				if form.Compression != "none" && form.Compression != "zstd" && form.Compression != "snappy" && !strings.Contains(all, form.Compression) {
					t.Errorf("no %s in\n%s", form.Compression, all)
				}
			})
		}
	}
}

// TestFieldOfPath checks the number that rsyslog cuts a path by.
func TestFieldOfPath(t *testing.T) {
	root := node(t)
	j := Job{Form: Form{Elastic, "none"}, Root: root, Dir: t.TempDir()}
	r := rsyslog()
	c, err := r.Prepare(j)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.Files[1])
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "field($!metadata!filename, 47, ")
	var n int
	if err := json.Unmarshal([]byte(rest[:strings.IndexByte(rest, ')')]), &n); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "shop_web-1_uid-a/app/0.log")
	if got := strings.Split(path, "/")[n-1]; got != "shop_web-1_uid-a" { // rsyslog counts from 1
		t.Errorf("field %d of %s is %q", n, path, got)
	}
}

func get[T any](t *testing.T, url string) (v T) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPodsOfNode(t *testing.T) {
	root, links := node(t), t.TempDir()
	url, err := servePods(root, links)
	if err != nil {
		t.Fatal(err)
	}
	var namespaces []string
	for _, n := range get[list[named]](t, url+"/api/v1/namespaces").Items {
		namespaces = append(namespaces, n.Metadata.Name)
	}
	if slices.Sort(namespaces); !slices.Equal(namespaces, []string{"payments", "shop"}) {
		t.Errorf("namespaces %v", namespaces)
	}
	found := map[string]bool{}
	for _, p := range get[list[pod]](t, url+"/api/v1/pods?fieldSelector=spec.nodeName%3D"+nodeName).Items {
		for _, c := range p.Status.ContainerStatuses {
			_, id, _ := strings.Cut(c.ContainerID, "://")
			text, err := os.ReadFile(filepath.Join(links, p.Metadata.Name+"_"+p.Metadata.Namespace+"_"+c.Name+"-"+id+".log"))
			if err != nil {
				t.Error(err)
			}
			found[string(text)] = true
			if want := p.Metadata.Namespace + "_" + p.Metadata.Name + "_" + p.Metadata.UID + "/" + c.Name; string(text) != want {
				t.Errorf("the link of %s leads to %s", want, text)
			}
		}
	}
	if len(found) != 3 {
		t.Errorf("containers %v", found)
	}
	// The watch tells of a pod that comes later.
	resp, err := http.Get(url + "/api/v1/pods?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	d, seen := json.NewDecoder(resp.Body), map[string]bool{}
	for len(seen) < 3 {
		var e struct {
			Type   string `json:"type"`
			Object pod    `json:"object"`
		}
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e.Type != "ADDED" || seen[e.Object.Metadata.UID] {
			t.Fatalf("%+v", e)
		}
		seen[e.Object.Metadata.UID] = true
		if len(seen) == 2 {
			if err := os.MkdirAll(filepath.Join(root, "shop_late-1_uid-c/app"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}
