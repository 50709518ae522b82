package config

import (
	"os"
	"path/filepath"
	"testing"
)

// In the role gateway what was taken is safe on disk unless somebody says
// otherwise.
func TestGatewayBuffers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weir.yaml")
	text := "outputs:\n  loki: {url: 'http://127.0.0.1:1'}\n  loki/off: {url: 'http://127.0.0.1:1', buffer: {disk: off}}\n  loki/own: {url: 'http://127.0.0.1:1', buffer: {disk: 5MiB}}\n  stdout: {}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for preset, want := range map[string][4]Size{"gateway": {1 << 30, 0, 5 << 20, 0}, "agent": {0, 0, 5 << 20, 0}} {
		c, _, err := Load(Options{Preset: preset, Files: []string{file}})
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range c.Outputs {
			if got := o.Settings.Common().Buffer.Disk; got != want[i] {
				t.Errorf("%s: %s: %d, want %d", preset, o.ID, got, want[i])
			}
		}
	}
}
