package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// image is what goes into an archive.
type image struct {
	Binary       []byte
	Certificates []byte // PEM; nil: none
	Arch         string // as GOARCH
	Name         string // such as weir:latest or registry.example.com/weir:v1
	Program      string // name of the binary in /, the image's entrypoint
	Args         []string
}

// epoch is the time of everything in the image, so that equal input gives
// equal bytes.
var epoch = time.Unix(0, 0).UTC()

// Media types and file names of the OCI image specification 1.1.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// imageConfig is the part of the image configuration that an image from
// scratch needs.
type imageConfig struct {
	Created string `json:"created"`
	platform
	Config struct {
		User       string   `json:"User"`
		Env        []string `json:"Env"`
		Entrypoint []string `json:"Entrypoint"`
		Cmd        []string `json:"Cmd,omitempty"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// build returns the archive: a tar of an OCI image layout with one manifest.
func build(img image) ([]byte, error) {
	full, tag, err := reference(img.Name)
	if err != nil {
		return nil, err
	}
	layer, err := rootfs(img)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(layer); err != nil {
		return nil, fmt.Errorf("compress the layer: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress the layer: %w", err)
	}

	var out bytes.Buffer
	a := archive{tar: tar.NewWriter(&out)}
	a.dir("blobs/")
	a.dir("blobs/sha256/")

	cfg := imageConfig{Created: epoch.Format(time.RFC3339), platform: platform{img.Arch, "linux"}}
	cfg.Config.User = "0"
	cfg.Config.Env = []string{"PATH=/"}
	cfg.Config.Entrypoint = []string{"/" + img.Program}
	cfg.Config.Cmd = img.Args
	cfg.RootFS.Type = "layers"
	cfg.RootFS.DiffIDs = []string{digest(layer)}
	cfg.History = []history{{cfg.Created, "weir deploy/image"}}

	m := manifest{SchemaVersion: 2, MediaType: typeManifest}
	m.Layers = []descriptor{a.blob(typeLayer, packed.Bytes())}
	m.Config = a.json(typeConfig, cfg)
	d := a.json(typeManifest, m)
	d.Platform = &cfg.platform
	d.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": tag,
		"io.containerd.image.name":          full, // what ctr images import calls it
	}
	a.marshal("index.json", index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{d}})
	a.file("oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	if a.err == nil {
		a.err = a.tar.Close()
	}
	if a.err != nil {
		return nil, fmt.Errorf("write the archive: %w", a.err)
	}
	return out.Bytes(), nil
}

// rootfs returns the files of the image as a tar.
func rootfs(img image) ([]byte, error) {
	var out bytes.Buffer
	a := archive{tar: tar.NewWriter(&out)}
	a.dir("etc/")
	a.file("etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n"))
	a.file("etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0:root:/:/%[1]s\nnonroot:x:65532:65532:nonroot:/:/%[1]s\n", img.Program))
	if img.Certificates != nil {
		a.dir("etc/ssl/")
		a.dir("etc/ssl/certs/")
		a.file("etc/ssl/certs/ca-certificates.crt", 0o644, img.Certificates)
	}
	a.header(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777})
	a.file(img.Program, 0o755, img.Binary)
	if a.err == nil {
		a.err = a.tar.Close()
	}
	if a.err != nil {
		return nil, fmt.Errorf("write the layer: %w", a.err)
	}
	return out.Bytes(), nil
}

// archive writes a tar; its first error stays.
type archive struct {
	tar *tar.Writer
	err error
}

func (a *archive) header(h tar.Header) {
	h.ModTime, h.Format = epoch, tar.FormatUSTAR
	if a.err == nil {
		a.err = a.tar.WriteHeader(&h)
	}
}

func (a *archive) dir(name string) {
	a.header(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
}

func (a *archive) file(name string, mode int64, content []byte) {
	a.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))})
	if a.err == nil {
		_, a.err = io.Copy(a.tar, bytes.NewReader(content))
	}
}

// blob adds content under its digest.
func (a *archive) blob(mediaType string, content []byte) descriptor {
	d := digest(content)
	a.file("blobs/sha256/"+strings.TrimPrefix(d, "sha256:"), 0o644, content)
	return descriptor{MediaType: mediaType, Digest: d, Size: len(content)}
}

// json adds v as a blob.
func (a *archive) json(mediaType string, v any) descriptor {
	b, err := json.Marshal(v)
	if err != nil {
		a.err = err
		return descriptor{}
	}
	return a.blob(mediaType, b)
}

// marshal adds v as a file.
func (a *archive) marshal(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		a.err = err
		return
	}
	a.file(name, 0o644, b)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

var referencePattern = regexp.MustCompile(`^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$`)

// reference returns the full name of an image, as container runtimes complete
// short ones, and its tag.
func reference(name string) (full, tag string, err error) {
	if !referencePattern.MatchString(name) {
		return "", "", fmt.Errorf("-tag %s: not the name of an image", name)
	}
	host, _, ok := strings.Cut(name, "/")
	switch {
	case !ok:
		full = "docker.io/library/" + name
	case strings.ContainsAny(host, ".:") || host == "localhost":
		full = name
	default:
		full = "docker.io/" + name
	}
	if i := strings.LastIndexByte(full, ':'); i > strings.LastIndexByte(full, '/') {
		return full, full[i+1:], nil
	}
	return full + ":latest", "latest", nil
}
