package cluster

import (
	"path/filepath"
	"strings"
	"testing"
)

// The API server accepts every object that deploy/ and its examples make,
// without a field it does not know, and 'weir manifests' prints the same ones.
func TestGatewayObjectsAreAccepted(t *testing.T) {
	examples, err := filepath.Glob("../../deploy/examples/*")
	if err != nil || len(examples) < 2 {
		t.Fatal(examples, err)
	}
	for _, dir := range append(examples, "../../deploy/agent", "../../deploy/gateway", "../../deploy/store") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			objects := kubectl(t, "kustomize", dir)
			accepted(t, objects)
		})
	}
	for _, role := range []string{"agent", "gateway", "store"} {
		t.Run("manifests "+role, func(t *testing.T) {
			objects, err := command(nil, "weir", "manifests", role)
			if err != nil {
				t.Fatal(err)
			}
			accepted(t, objects)
		})
	}
}

// accepted asks the API server whether it would take the objects.
func accepted(t *testing.T, objects string) {
	t.Helper()
	out, err := command([]byte(objects), "kubectl", "apply", "--server-side", "--dry-run=server", "--force-conflicts", "--validate=strict", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Count("\n"+objects, "\nkind: ")
	if got := strings.Count(out, "serverside-applied (server dry run)"); got != want || want == 0 {
		t.Errorf("%d of %d objects accepted:\n%s", got, want, out)
	}
}
