package kube

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Annotations about an application's log files.
const (
	// AnnotationFiles says which files of a pod's volumes are logs; with
	// ".<container>" behind it, those of that container.
	AnnotationFiles = "weir.dev/files"
	// AnnotationSidecar asks the admission webhook for a sidecar: stream or ship.
	AnnotationSidecar = "weir.dev/sidecar"
)

// FileSpec is one entry of the annotation weir.dev/files.
type FileSpec struct {
	// Volume is the name of one of the pod's volumes.
	Volume string
	// Glob is the pattern of files in the volume, as in path.Match for every part of
	// the path, without a leading slash.
	Glob string
	// Parser, Multiline and Rate are as in the configuration: parse, multiline and
	// rate_limit; "" if nothing is said. They are not checked here.
	Parser, Multiline, Rate string
}

// Limits of weir.dev/files.
const (
	maxFilesText  = 4096
	maxFileSpecs  = 32
	maxGlobParts  = 8
	maxGlobLength = 255
)

// dnsLabel is what volumes and containers are called (RFC 1123).
var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// ParseFiles reads the annotation weir.dev/files:
//
//	<volume>:<glob>[;parser=<parser>][;multiline=<multiline>][;rate=<rate>]
//
// Entries are separated by commas or line feeds; a comma, semicolon or backslash
// within a value has a backslash before it. The error names what is wrong, of all
// entries, and the specs that are right are returned with it.
func ParseFiles(text string) ([]FileSpec, error) {
	if len(text) > maxFilesText {
		return nil, fmt.Errorf("%d bytes are too many: at most %d", len(text), maxFilesText)
	}
	var specs []FileSpec
	var errs []error
	for _, entry := range splitEscaped(text, ",\n") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		if len(specs) == maxFileSpecs {
			errs = append(errs, fmt.Errorf("more than %d entries", maxFileSpecs))
			break
		}
		s, err := parseFile(entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", shorten(strings.TrimSpace(entry)), err))
			continue
		}
		specs = append(specs, s)
	}
	if len(specs) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("no entry: write <volume>:<glob>, such as logs:*.log"))
	}
	return specs, errors.Join(errs...)
}

func shorten(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// splitEscaped splits at any of the separators that has no backslash before it.
// Backslashes stay.
func splitEscaped(s, separators string) (parts []string) {
	from := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.IndexByte(separators, s[i]) >= 0:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

// unescape takes the backslashes away that stand before separators. Others are the
// value's own: patterns have many.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte(",;\n", s[i+1]) >= 0 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func parseFile(entry string) (s FileSpec, err error) {
	parts := splitEscaped(entry, ";")
	volume, glob, ok := strings.Cut(strings.TrimSpace(unescape(parts[0])), ":")
	if !ok {
		return s, errors.New("write <volume>:<glob>, such as logs:*.log")
	}
	if !dnsLabel.MatchString(volume) {
		return s, fmt.Errorf("%q is not the name of a volume", shorten(volume))
	}
	if s.Glob, err = cleanGlob(glob); err != nil {
		return s, err
	}
	s.Volume = volume
	for _, option := range parts[1:] {
		key, value, ok := strings.Cut(strings.TrimSpace(unescape(option)), "=")
		var at *string
		switch key {
		case "parser":
			at = &s.Parser
		case "multiline":
			at = &s.Multiline
		case "rate":
			at = &s.Rate
		default:
			return s, fmt.Errorf("unknown option %q: there are parser=, multiline= and rate=", shorten(key))
		}
		if value = strings.TrimSpace(value); !ok || value == "" {
			return s, fmt.Errorf("%s has no value", key)
		}
		if *at != "" {
			return s, fmt.Errorf("%s is given twice", key)
		}
		*at = value
	}
	return s, nil
}

// cleanGlob checks a pattern: it must lead nowhere but into its volume.
func cleanGlob(glob string) (string, error) {
	glob = strings.TrimPrefix(glob, "/")
	switch {
	case glob == "":
		return "", errors.New("the pattern of files is missing, such as *.log")
	case len(glob) > maxGlobLength:
		return "", fmt.Errorf("the pattern is longer than %d bytes", maxGlobLength)
	case strings.ContainsFunc(glob, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		return "", errors.New("the pattern holds a control byte, or is not UTF-8")
	}
	if _, err := path.Match(glob, ""); err != nil {
		return "", errors.New("the pattern is not one: a bracket or backslash is not closed")
	}
	parts := strings.Split(glob, "/")
	if len(parts) > maxGlobParts {
		return "", fmt.Errorf("the pattern has more than %d parts", maxGlobParts)
	}
	for _, p := range parts {
		if p == "" || p == "." || p == ".." {
			return "", fmt.Errorf("the pattern has a part %q: it must lead into the volume only", p)
		}
		if _, err := path.Match(p, ""); err != nil {
			return "", errors.New("the pattern is not one: a bracket spans a slash")
		}
	}
	return glob, nil
}
