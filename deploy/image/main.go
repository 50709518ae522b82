// Command image writes a container image of weir as an OCI image layout in a
// tar archive, without Docker, root, or a network:
//
//	CGO_ENABLED=0 go build -trimpath -o weir ./cmd/weir
//	go run ./deploy/image -binary weir -o weir.tar
//	ctr -n k8s.io images import weir.tar        # on a node
//	skopeo copy oci-archive:weir.tar docker://registry.example.com/weir:v1
//
// It is the image of the Dockerfile: from scratch, one layer with /weir, the
// certificates of authorities, /etc/passwd and /tmp. Equal input gives an
// equal archive. With -program it is an image of the same kind for any other
// static binary.
package main

import (
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "image:", err)
		}
		os.Exit(2)
	}
}

// certificates are where systems keep the certificates of authorities, as
// crypto/x509 looks for them.
var certificates = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
}

func run(args []string, errOut io.Writer) error {
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.SetOutput(errOut)
	binary := fs.String("binary", "weir", "the static `file` that becomes /weir")
	program := fs.String("program", "weir", "its `name` in the image, if it is not weir; it is then run without arguments")
	arch := fs.String("arch", "amd64", "its architecture: amd64 or arm64")
	tag := fs.String("tag", "weir:latest", "name of the image")
	ca := fs.String("ca", "auto", "`file` with certificates of authorities; auto: this system's, if it has them; none")
	out := fs.String("o", "weir.tar", "archive to write")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if !programPattern.MatchString(*program) {
		return fmt.Errorf("-program %s: want the name of a file", *program)
	}
	var cmdline []string
	if *program == "weir" {
		cmdline = []string{"agent", "-c", "/etc/weir/weir.yaml"}
	}
	exe, err := os.ReadFile(*binary)
	if err != nil {
		return fmt.Errorf("read the binary: %w", err)
	}
	if err := runnable(*binary, *arch); err != nil {
		return err
	}
	certs, err := readCertificates(*ca)
	if err != nil {
		return err
	}
	if certs == nil {
		fmt.Fprintln(errOut, "image: without certificates of authorities: outputs need tls.ca")
	}
	archive, err := build(image{Binary: exe, Certificates: certs, Arch: *arch, Name: *tag, Program: *program, Args: cmdline})
	if err != nil {
		return err
	}
	if err := os.WriteFile(*out, archive, 0o644); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

// programPattern keeps -program a single name, and apart from what else is in
// the image.
var programPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{3,}$`)

func readCertificates(from string) ([]byte, error) {
	switch from {
	case "none":
		return nil, nil
	case "auto":
		for _, name := range certificates {
			if b, err := os.ReadFile(name); err == nil {
				return b, nil
			}
		}
		return nil, nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return nil, fmt.Errorf("read the certificates: %w", err)
	}
	return b, nil
}

// runnable reports why the binary could not start in an empty image on that
// architecture. The kernel would only say "no such file or directory".
func runnable(name, arch string) error {
	machine, ok := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	if !ok {
		return fmt.Errorf("-arch %s: want amd64 or arm64", arch)
	}
	f, err := elf.Open(name)
	if err != nil {
		return fmt.Errorf("%s is not a Linux binary: %w", name, err)
	}
	defer f.Close()
	if f.Machine != machine {
		return fmt.Errorf("%s is for %v, not for %s", name, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: build it with CGO_ENABLED=0", name)
		}
	}
	return nil
}
