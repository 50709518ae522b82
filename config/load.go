package config

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

//go:embed presets/*.yaml
var presets embed.FS

// Presets returns the names of the built-in configurations.
func Presets() []string {
	list, err := presets.ReadDir("presets")
	if err != nil {
		panic("config: no presets: " + err.Error()) // they are part of the program
	}
	var out []string
	for _, e := range list {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// Preset returns the YAML text of a built-in configuration.
func Preset(name string) ([]byte, error) {
	data, err := presets.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("no built-in configuration %q: %s", name, suggest(name, Presets()))
	}
	return data, nil
}

// Options says what to load. The zero value loads nothing but defaults.
type Options struct {
	// Files are files and directories. Of a directory every *.yaml and *.yml
	// that is not hidden counts, in the order of their names. All of them are
	// merged: maps by key, lists one behind the other; a value given twice is
	// an error.
	Files []string
	// Preset is the name of the built-in configuration beneath the files,
	// "" for none: files add to its maps and replace everything else.
	Preset string
	// Set are settings of the form key.path=value, which win over all else.
	Set []string
	// Defaults are values, by path, for what nobody gave; they win over the
	// schema's defaults. For what depends on the host.
	Defaults map[string]string
	// Env looks up environment variables; nil is os.LookupEnv.
	Env func(string) (string, bool)
	// EnvNames are the names of all set variables, for warnings about those
	// that mean nothing. Optional.
	EnvNames []string
	// ReadFile reads files; nil is os.ReadFile.
	ReadFile func(string) ([]byte, error)
	// Incomplete accepts a configuration that has no input or no output.
	Incomplete bool
}

// Load reads, merges, fills in and checks a configuration. Precedence: Set,
// then the environment (WEIR_…), then files, then the preset, then defaults.
// The error is an *Errors with everything that is wrong; then there is no
// Config, and the warnings are part of the error. Warnings is never nil.
func Load(o Options) (*Config, *Warnings, error) {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	c := newCollector()
	from := &provenance{c.hidden, make(map[string]given), slices.Clone(o.Files)}
	cfg := &Config{from: from}
	subst := &substituter{c: c, env: o.Env, readFile: o.ReadFile}

	var root *node
	whole := true // all files could be read
	for _, file := range c.expand(o.Files) {
		data, err := o.ReadFile(file)
		if err != nil {
			c.addf(Pos{File: file}, 1, "cannot read the file: %s", reason(err))
			whole = false
			continue
		}
		n, ok := c.parse(file, data)
		whole = whole && ok
		if n != nil && n.kind != mapNode && !(n.kind == scalarNode && n.null) {
			c.addf(n.pos, n.width(), "a configuration is a map, not %s", n.kind).Hint = suggestKeys(names(fieldsOf(reflect.TypeFor[Config]())))
			whole = false
			continue
		}
		root = c.join(root, n, "")
	}
	if o.Preset != "" {
		data, err := Preset(o.Preset)
		if err != nil {
			c.addf(Pos{}, 1, "%s", err)
		} else {
			base, _ := c.parse("preset "+o.Preset, data)
			root = overlay(base, root)
		}
	}
	over := &overrides{c: c, env: o.Env, taken: make(map[string]string)}
	// Files and flags may hold ${…}; the environment's values are final.
	subst.tree(root)
	root = over.environment(root)
	over.unknown(o.EnvNames)
	for _, arg := range o.Set {
		before := root
		root = over.flag(root, arg)
		if root != before {
			subst.flags(root, arg)
		}
	}
	from.files = append(from.files, subst.files...)

	d := &decoder{c, from.nodes}
	v := reflect.ValueOf(cfg).Elem()
	setDefaults(v, o.Defaults, "")
	if root == nil {
		root = &node{kind: mapNode}
	}
	if len(o.Files) > 0 && root.pos.Line == 0 {
		root.pos = Pos{o.Files[0], 1, 1}
	}
	from.nodes[""] = given{node: root}
	d.structure(root, v, "")
	if whole {
		k := checker{d, cfg, o}
		k.all()
	}
	ps := c.sorted()
	if c.failed() {
		return nil, &Warnings{problems{hidden: c.hidden}}, &Errors{ps}
	}
	return cfg, &Warnings{ps}, nil
}

// flags fills in the values that came from one --set.
func (s *substituter) flags(n *node, arg string) {
	key, _, _ := strings.Cut(arg, "=")
	s.only(n, Pos{File: "--set " + key})
}

func (s *substituter) only(n *node, pos Pos) {
	if n == nil {
		return
	}
	if n.kind == scalarNode && n.pos == pos {
		s.tree(n)
	}
	for _, e := range n.entries {
		s.only(e.val, pos)
	}
	for _, m := range n.items {
		s.only(m, pos)
	}
}

// expand replaces directories by their files and reports what is not there.
func (c *collector) expand(files []string) []string {
	var out []string
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || !info.IsDir() {
			out = append(out, f) // reading it tells what is wrong
			continue
		}
		list, err := filesOf(f)
		if err != nil {
			c.addf(Pos{File: f}, 1, "cannot read the directory: %s", reason(err))
			continue
		}
		if len(list) == 0 {
			c.warnf(Pos{File: f}, 1, "no *.yaml file in this directory")
		}
		out = append(out, list...)
	}
	return out
}

// filesOf returns the configuration files of a directory. Hidden names are
// left out: a mounted ConfigMap keeps its versions under them.
func filesOf(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		if ext := filepath.Ext(e.Name()); !strings.HasPrefix(e.Name(), ".") && (ext == ".yaml" || ext == ".yml") {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, nil
}

func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// Fingerprint returns a hash over the contents of files and directories, read
// through symbolic links, so that the switch of a mounted ConfigMap changes
// it. A file that is not there is part of the hash, not an error.
func Fingerprint(paths []string) string {
	h := sha256.New()
	add := func(name string, data []byte, err error) {
		state := "ok"
		if err != nil {
			state = "error " + reason(err)
		}
		fmt.Fprintf(h, "%d %s %s %d\n", len(name), name, state, len(data))
		h.Write(data)
	}
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			list, err := filesOf(p)
			add(p, nil, err)
			for _, f := range list {
				data, err := os.ReadFile(f)
				add(f, data, err)
			}
			continue
		}
		data, err := os.ReadFile(p)
		add(p, data, err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
