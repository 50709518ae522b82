package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestManifest checks what krew checks of a manifest.
func TestManifest(t *testing.T) {
	sums := make(map[string]string)
	for i, p := range platforms {
		sums[p] = strings.Repeat(string("0123"[i]), 64)
	}
	text := render("v1.2.3", "https://example.com/v1.2.3", sums)
	var m struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   struct{ Name string }
		Spec       struct {
			Version, Homepage, Description, Caveats string
			ShortDescription                        string `yaml:"shortDescription"`
			Platforms                               []struct {
				Selector struct {
					MatchLabels struct{ OS, Arch string } `yaml:"matchLabels"`
				}
				URI, SHA256, Bin string
			}
		}
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	if m.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || m.Kind != "Plugin" || m.Metadata.Name != "weir" || m.Spec.Version != "v1.2.3" {
		t.Errorf("%+v", m)
	}
	if n := len(m.Spec.ShortDescription); n == 0 || n > 80 || strings.HasSuffix(m.Spec.ShortDescription, ".") {
		t.Errorf("short description %q", m.Spec.ShortDescription)
	}
	if strings.Contains(text, "VERSION") || strings.Contains(text, "SHA256-") || strings.Contains(text, "URL") {
		t.Errorf("something is not filled in:\n%s", text)
	}
	if len(m.Spec.Platforms) != len(platforms) {
		t.Fatalf("%d platforms", len(m.Spec.Platforms))
	}
	for i, p := range m.Spec.Platforms {
		name := p.Selector.MatchLabels.OS + "-" + p.Selector.MatchLabels.Arch
		if name != platforms[i] || p.SHA256 != sums[name] || p.Bin != "kubectl-weir" ||
			p.URI != "https://example.com/v1.2.3/weir-v1.2.3-"+name+".tar.gz" || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(p.SHA256) {
			t.Errorf("platform %d: %+v", i, p)
		}
	}
}

func TestArchive(t *testing.T) {
	a, err := archive([]byte("program"), []byte("license"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := archive([]byte("program"), []byte("license"))
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("another archive of the same: %v", err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(zr)
	h, err := tr.Next()
	if err != nil || h.Name != "kubectl-weir" || h.Mode != 0o755 {
		t.Errorf("%+v, %v", h, err)
	}
	if text, err := io.ReadAll(tr); err != nil || string(text) != "program" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestVersionIsChecked(t *testing.T) {
	if err := release("1.0", t.TempDir(), ""); err == nil {
		t.Error("1.0 is taken")
	}
}
