package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type entry struct {
	Mode    int64
	Content string
}

// untar reads an archive and checks what makes it deterministic: one owner,
// one time, and every directory before what is in it.
func untar(t *testing.T, b []byte) map[string]entry {
	t.Helper()
	out := map[string]entry{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(epoch) {
			t.Errorf("%s: owner %d:%d, time %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		if dir, _ := filepath.Split(strings.TrimSuffix(h.Name, "/")); dir != "" && out[dir].Mode == 0 {
			t.Errorf("%s comes before its directory", h.Name)
		}
		if _, twice := out[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = entry{h.Mode, string(content)}
	}
}

// open returns a blob after checking its size and digest.
func open(t *testing.T, files map[string]entry, d descriptor, mediaType string) []byte {
	t.Helper()
	b, ok := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
	if !ok {
		t.Fatalf("no blob %s", d.Digest)
	}
	if d.MediaType != mediaType || d.Size != len(b.Content) || d.Digest != digest([]byte(b.Content)) {
		t.Errorf("blob of %d bytes and digest %s is described as %+v", len(b.Content), digest([]byte(b.Content)), d)
	}
	return []byte(b.Content)
}

func decode(t *testing.T, b []byte, into any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
}

// program writes an ELF header, with an interpreter if it shall be dynamic.
func program(t *testing.T, machine elf.Machine, dynamic bool) string {
	t.Helper()
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 64, Phoff: 64, Phentsize: 56, Phnum: 1, Shentsize: 64}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	p := elf.Prog64{Type: uint32(elf.PT_LOAD)}
	if dynamic {
		p.Type = uint32(elf.PT_INTERP)
	}
	var b bytes.Buffer
	for _, v := range []any{h, p} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "weir")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestArchive(t *testing.T) {
	exe := program(t, elf.EM_AARCH64, false)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte("authority"), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(args ...string) []byte {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out.tar")
		if err := run(append([]string{"-binary", exe, "-arch", "arm64", "-tag", "registry.example.com:5000/weir:v1", "-o", out}, args...), io.Discard); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := write("-ca", ca)
	if !bytes.Equal(first, write("-ca", ca)) {
		t.Error("equal input gives another archive")
	}
	files := untar(t, first)
	if got := files["oci-layout"].Content; got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout: %s", got)
	}
	var idx index
	decode(t, []byte(files["index.json"].Content), &idx)
	if idx.SchemaVersion != 2 || len(idx.Manifests) != 1 {
		t.Fatalf("index %+v", idx)
	}
	d := idx.Manifests[0]
	if diff := cmp.Diff(map[string]string{
		"org.opencontainers.image.ref.name": "v1", "io.containerd.image.name": "registry.example.com:5000/weir:v1",
	}, d.Annotations); diff != "" {
		t.Error(diff)
	}
	var m manifest
	decode(t, open(t, files, d, typeManifest), &m)
	var cfg imageConfig
	decode(t, open(t, files, m.Config, typeConfig), &cfg)
	if len(m.Layers) != 1 || len(cfg.RootFS.DiffIDs) != 1 {
		t.Fatalf("%d layers, %d diff ids", len(m.Layers), len(cfg.RootFS.DiffIDs))
	}
	if cfg.platform != (platform{"arm64", "linux"}) || *d.Platform != cfg.platform {
		t.Errorf("platform %+v, %+v", cfg.platform, d.Platform)
	}
	if cfg.Config.User != "0" || !slices.Equal(cfg.Config.Entrypoint, []string{"/weir"}) || !slices.Equal(cfg.Config.Cmd, []string{"agent", "-c", "/etc/weir/weir.yaml"}) {
		t.Errorf("config %+v", cfg.Config)
	}
	z, err := gzip.NewReader(bytes.NewReader(open(t, files, m.Layers[0], typeLayer)))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest(layer); got != cfg.RootFS.DiffIDs[0] {
		t.Errorf("the layer is %s, the configuration says %s", got, cfg.RootFS.DiffIDs[0])
	}
	root := untar(t, layer)
	text, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]entry{
		"weir": {0o755, string(text)}, "tmp/": {0o1777, ""}, "etc/ssl/certs/ca-certificates.crt": {0o644, "authority"},
	} {
		if diff := cmp.Diff(want, root[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if !strings.HasPrefix(root["etc/passwd"].Content, "root:x:0:0:") {
		t.Errorf("passwd: %q", root["etc/passwd"].Content)
	}
	// Two directories, three blobs, two files: no blob that nothing names.
	if got := slices.Sorted(maps.Keys(files)); len(got) != 7 {
		t.Errorf("files of the archive: %v", got)
	}

	other := untar(t, write("-program", "pause"))
	decode(t, []byte(other["index.json"].Content), &idx)
	m, cfg = manifest{}, imageConfig{}
	decode(t, open(t, other, idx.Manifests[0], typeManifest), &m)
	decode(t, open(t, other, m.Config, typeConfig), &cfg)
	if !slices.Equal(cfg.Config.Entrypoint, []string{"/pause"}) || cfg.Config.Cmd != nil {
		t.Errorf("config of another program: %+v", cfg.Config)
	}

	without := untar(t, write("-ca", "none"))
	if without["index.json"] == files["index.json"] {
		t.Error("without certificates the image is the same")
	}
}

func TestRefused(t *testing.T) {
	static, dynamic := program(t, elf.EM_X86_64, false), program(t, elf.EM_X86_64, true)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.tar")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"not static", []string{"-binary", dynamic}},
		{"not for arm64", []string{"-binary", static, "-arch", "arm64"}},
		{"want amd64 or arm64", []string{"-binary", static, "-arch", "mips"}},
		{"not a Linux binary", []string{"-binary", text}},
		{"read the binary", []string{"-binary", text + "x"}},
		{"not the name of an image", []string{"-binary", static, "-tag", "Weir latest"}},
		{"want the name of a file", []string{"-binary", static, "-program", "../weir"}},
		{"want the name of a file", []string{"-binary", static, "-program", "tmp"}},
		{"read the certificates", []string{"-binary", static, "-ca", text + "x"}},
		{"unexpected argument", []string{"-binary", static, "weir"}},
	} {
		err := run(append([]string{"-o", out}, c.args...), io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Fatalf("%v: an archive was written", c.args)
		}
	}
}

func TestReference(t *testing.T) {
	for in, want := range map[string][2]string{
		"weir":                      {"docker.io/library/weir:latest", "latest"},
		"weir:v1":                   {"docker.io/library/weir:v1", "v1"},
		"team/weir:v1":              {"docker.io/team/weir:v1", "v1"},
		"localhost/weir":            {"localhost/weir:latest", "latest"},
		"localhost:5000/weir":       {"localhost:5000/weir:latest", "latest"},
		"registry.example.com/a/b":  {"registry.example.com/a/b:latest", "latest"},
		"registry.example.com/b:v1": {"registry.example.com/b:v1", "v1"},
	} {
		full, tag, err := reference(in)
		if err != nil || full != want[0] || tag != want[1] {
			t.Errorf("%s: %s, %s, %v", in, full, tag, err)
		}
	}
	for _, bad := range []string{"", "a b", "a:", ":v1", "a\n", "A", "a@sha256:00"} {
		if full, _, err := reference(bad); err == nil {
			t.Errorf("%q was taken as %s", bad, full)
		}
	}
}
