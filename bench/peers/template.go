package peers

import (
	"embed"
	"fmt"
	"os/exec"
	"strings"
)

//go:embed otelcol/*.yaml promtail/*.yaml fluentbit/*.conf rsyslog/*.conf rsyslog/*.rulebase syslogng/*.conf
var templates embed.FS

// render writes templates/<name> into the job's directory under its own name
// and returns the path.
func (j *Job) render(name string) (string, error) {
	text, err := templates.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("no configuration for %s: %w", j.Form, err)
	}
	return j.Write(name[strings.LastIndexByte(name, '/')+1:], string(text))
}

// firstLine returns a Version that runs the program with these arguments.
func firstLine(args ...string) func(string) (string, error) {
	return func(binary string) (string, error) {
		out, err := exec.Command(binary, args...).Output()
		line, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(line), err
	}
}
