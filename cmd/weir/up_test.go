package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFindLogs(t *testing.T) {
	dir := t.TempDir()
	pods, docker, system := filepath.Join(dir, "pods"), filepath.Join(dir, "docker", "*", "*-json.log"), filepath.Join(dir, "*.log")
	if _, err := findLogs(pods, docker, system); err == nil || !strings.Contains(err.Error(), "weir up app.log") {
		t.Fatalf("nothing there: %v", err)
	}
	for _, step := range []struct{ make, want string }{
		{filepath.Join(dir, "syslog.log"), system},
		{filepath.Join(dir, "docker"), docker},
		{pods, pods},
	} {
		var err error
		if strings.HasSuffix(step.make, ".log") {
			err = os.WriteFile(step.make, nil, 0o600)
		} else {
			err = os.Mkdir(step.make, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := findLogs(pods, docker, system); err != nil || got != step.want {
			t.Errorf("with %s: %q, %v; want %q", step.make, got, err, step.want)
		}
	}
	// Containers of docker win over pods only where there are no pods.
	log := filepath.Join(dir, "docker", "abc", "abc-json.log")
	if err := errors.Join(os.Mkdir(filepath.Dir(log), 0o700), os.WriteFile(log, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if got, err := findLogs(pods, docker, system); err != nil || got != docker {
		t.Errorf("no pods: %q, %v", got, err)
	}
	if err := os.Mkdir(filepath.Join(pods, "a_b_01234567"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := findLogs(pods, docker, system); err != nil || got != pods {
		t.Errorf("with a pod: %q, %v", got, err)
	}
}

func TestParseWhen(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"now":                       now,
		"15m":                       now.Add(-15 * time.Minute),
		"15m ago":                   now.Add(-15 * time.Minute),
		"-2h":                       now.Add(-2 * time.Hour),
		"today":                     time.Date(2026, 11, 22, 0, 0, 0, 0, zone),
		"yesterday":                 time.Date(2026, 11, 21, 0, 0, 0, 0, zone),
		"2026-11-20":                time.Date(2026, 11, 20, 0, 0, 0, 0, zone),
		"2026-11-20 10:30":          time.Date(2026, 11, 20, 10, 30, 0, 0, zone),
		"2026-11-20 10:30:05.5":     time.Date(2026, 11, 20, 10, 30, 5, 5e8, zone),
		"2026-11-20T10:30:00Z":      time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC),
		"2026-11-20T10:30:00+01:00": time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC),
		"10:30":                     time.Date(2026, 11, 22, 10, 30, 0, 0, zone),
		"1795340000":                time.Unix(1795340000, 0),
		"1795340000123":             time.UnixMilli(1795340000123),
		"1795340000123456789":       time.Unix(0, 1795340000123456789),
	} {
		got, err := parseWhen(text, now)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "tomorrow-ish", "25:00", "2026-13-01", "1x"} {
		if got, err := parseWhen(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestNiceStep(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		time.Minute: time.Second, time.Hour: time.Minute, 24 * time.Hour: 30 * time.Minute, 7 * 24 * time.Hour: 3 * time.Hour, 365 * 24 * time.Hour: 7 * 24 * time.Hour,
	} {
		if got := niceStep(d); got != want {
			t.Errorf("%v: %v, want %v", d, got, want)
		}
	}
}
