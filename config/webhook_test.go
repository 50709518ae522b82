package config

import "testing"

// The webhook handles no records: its configuration is complete without inputs and
// outputs, also for weir check.
func TestWebhookNeedsNoInput(t *testing.T) {
	load := func(preset string) error {
		_, _, err := Load(Options{
			Files: []string{"weir.yaml"}, Preset: preset,
			Env:      func(string) (string, bool) { return "", false },
			ReadFile: func(string) ([]byte, error) { return []byte("listen: {probe: ':7411'}\n"), nil },
		})
		return err
	}
	if err := load("webhook"); err != nil {
		t.Error(err)
	}
	if load("") == nil {
		t.Error("a configuration that reads nothing is taken")
	}
}
