// Package deploy holds the Kubernetes manifests of weir's roles, one folder
// per role, so that the binary can print what it was released with.
//
// The folders are kustomize bases as they are: kubectl apply -k deploy/agent.
package deploy

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"path"
	"regexp"
)

//go:embed agent/*.yaml store/*.yaml gateway/*.yaml webhook/*.yaml
var files embed.FS

// What the files say, and Options replace.
const (
	// DefaultNamespace is where the manifests put everything.
	DefaultNamespace = "logging"
	// DefaultImage is the image the manifests run.
	DefaultImage = "weir:latest"
)

// roles are the roles and their files, in the order of the role's
// kustomization.yaml.
var roles = []struct {
	name  string
	files []string
}{
	{"agent", []string{"namespace.yaml", "serviceaccount.yaml", "configmap.yaml", "daemonset.yaml"}},
	{"gateway", []string{
		"serviceaccount.yaml", "configmap.yaml", "service.yaml", "networkpolicy.yaml", "pdb.yaml", "hpa.yaml", "statefulset.yaml",
	}},
	{"store", []string{"configmap.yaml", "service.yaml", "statefulset.yaml"}},
	{"webhook", []string{"serviceaccount.yaml", "configmap.yaml", "service.yaml", "pdb.yaml", "deployment.yaml", "webhookconfiguration.yaml"}},
}

// Roles returns the names of the roles that have manifests.
func Roles() []string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = r.name
	}
	return names
}

// Options are what differs between clusters. An empty one means the default.
type Options struct {
	Namespace string // a DNS label (RFC 1123)
	Image     string // a reference: name, optionally with registry, tag and digest
}

// ErrUnknownRole is returned for a role that is not among Roles.
var ErrUnknownRole = errors.New("no manifests for this role")

var (
	namespacePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	imagePattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]*[A-Za-z0-9]$`)
)

// Manifests returns the role's objects as a stream of YAML documents, ready
// for kubectl apply -f -. Without options it is the files, byte for byte.
func Manifests(role string, o Options) ([]byte, error) {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Image == "" {
		o.Image = DefaultImage
	}
	// Both are put into YAML as text, so they must be nothing but a name.
	if !namespacePattern.MatchString(o.Namespace) {
		return nil, fmt.Errorf("%q is not a name for a namespace: want a-z 0-9 -, at most 63", o.Namespace)
	}
	if !imagePattern.MatchString(o.Image) {
		return nil, fmt.Errorf("%q is not a reference to an image", o.Image)
	}
	for _, r := range roles {
		if r.name != role {
			continue
		}
		var out []byte
		for i, name := range r.files {
			text, err := files.ReadFile(path.Join(role, name))
			if err != nil {
				return nil, fmt.Errorf("read embedded manifest: %w", err) // impossible: a test reads all
			}
			if i > 0 {
				out = append(out, "---\n"...)
			}
			out = append(out, text...)
		}
		// The namespace's own name stands where names of other objects do
		// not occur: the only object called like the namespace is itself.
		for _, key := range []string{"namespace: ", "  name: "} {
			out = replaceValue(out, key, DefaultNamespace, o.Namespace)
		}
		if o.Namespace != DefaultNamespace { // names in lists and addresses
			out = bytes.ReplaceAll(out, []byte("[kube-system, "+DefaultNamespace+"]"), []byte("[kube-system, '"+o.Namespace+"']"))
			out = bytes.ReplaceAll(out, []byte("."+DefaultNamespace+":"), []byte("."+o.Namespace+":"))
		}
		out = replaceValue(out, "value: ", DefaultImage, o.Image) // of the sidecars that the webhook makes
		return replaceValue(out, "image: ", DefaultImage, o.Image), nil
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknownRole, role)
}

// replaceValue replaces the value of a key where it is the whole rest of a
// line. Names that YAML would not take for text are quoted.
func replaceValue(text []byte, key, old, value string) []byte {
	if value == old {
		return text
	}
	return bytes.ReplaceAll(text, []byte(key+old+"\n"), []byte(key+"'"+value+"'\n"))
}
