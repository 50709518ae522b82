// Command krew makes a release of the kubectl plugin: an archive per platform,
// and the manifest that krew installs it by.
//
//	go run ./deploy/krew --version v1.0.0 --out dist
//
// The archives have to be reachable below --url before the manifest is of use.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed weir.yaml
var manifest string

// platforms are those of the manifest.
var platforms = []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"}

// krew wants semantic versions with a v.
var versionPattern = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func main() {
	version := flag.String("version", "", "version of the release: v1.0.0")
	out := flag.String("out", "dist", "directory for the archives and the manifest")
	url := flag.String("url", "", "where the archives will be (default the release's page)")
	flag.Parse()
	if err := release(*version, *out, *url); err != nil {
		fmt.Fprintf(os.Stderr, "krew: %v\n", err)
		os.Exit(1)
	}
}

func release(version, out, url string) error {
	if !versionPattern.MatchString(version) {
		return fmt.Errorf("--version %q: want one such as v1.0.0", version)
	}
	if url == "" {
		url = "https://github.com/weirlog/weir/releases/download/" + version
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return fmt.Errorf("start this at the root of the repository: %w", err)
	}
	sums := make(map[string]string)
	for _, p := range platforms {
		binary := filepath.Join(out, "kubectl-weir-"+p)
		system, arch, _ := strings.Cut(p, "-")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.release="+version, "-o", binary, "./cmd/weir")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch)
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build for %s: %w", p, err)
		}
		program, err := os.ReadFile(binary)
		if err != nil {
			return err
		}
		packed, err := archive(program, license)
		if err != nil {
			return err
		}
		name := filepath.Join(out, "weir-"+version+"-"+p+".tar.gz")
		if err := os.WriteFile(name, packed, 0o644); err != nil {
			return err
		}
		if err := os.Remove(binary); err != nil {
			return err
		}
		sum := sha256.Sum256(packed)
		sums[p] = hex.EncodeToString(sum[:])
		fmt.Printf("%s  %s\n", sums[p], name)
	}
	return os.WriteFile(filepath.Join(out, "weir.yaml"), []byte(render(version, url, sums)), 0o644)
}

// archive packs the program; the same bytes make the same archive.
func archive(program, license []byte) ([]byte, error) {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, f := range []struct {
		name string
		mode int64
		text []byte
	}{{"kubectl-weir", 0o755, program}, {"LICENSE", 0o644, license}} {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.text)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := tw.Write(f.text); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// render fills the manifest.
func render(version, url string, sums map[string]string) string {
	_, text, _ := strings.Cut(manifest, "\napiVersion")
	text = "apiVersion" + text
	for p, sum := range sums {
		text = strings.ReplaceAll(text, "SHA256-"+p, sum)
	}
	return strings.NewReplacer("VERSION", version, "URL", url).Replace(text)
}
