package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
)

// Reference returns the text of docs/reference/configuration.md, made from the
// structs of this package.
func Reference() []byte {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	b.WriteString("\n## Top level\n\n")
	var simple, sections []field
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		if isScalar(f.typ) {
			simple = append(simple, f)
		} else {
			sections = append(sections, f)
		}
	}
	table(&b, rows(simple, "", nil))
	b.WriteString("\n")
	for _, f := range sections {
		anchor := f.name
		if findType(outputTypes, f.name) != nil { // the output's heading comes first
			anchor += "-1"
		}
		fmt.Fprintf(&b, "- [`%s`](#%s): %s\n", f.name, anchor, f.doc)
	}
	for _, f := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", f.name, f.doc)
		switch f.typ {
		case reflect.TypeFor[Inputs]():
			for _, t := range inputTypes {
				section(&b, t, t.fields())
			}
		case reflect.TypeFor[Outputs]():
			outputs(&b)
		default:
			t := f.typ
			if t.Kind() == reflect.Slice {
				t = t.Elem()
			}
			b.WriteString("\n")
			table(&b, rows(fieldsOf(t), "", nil))
		}
	}
	b.WriteString("\n## Built-in configurations\n\nA role is a built-in configuration beneath your files: maps are merged, everything else that you give\nreplaces what stands there. `inputs: {kubernetes: off}` takes a component away.\n")
	for _, name := range Presets() {
		data, err := Preset(name)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "\n### weir %s\n\n```yaml\n%s```\n", name, data)
	}
	return b.Bytes()
}

func section(b *bytes.Buffer, t componentType, fs []field) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n", t.name, t.doc)
	table(b, rows(fs, "", t.defaults))
}

// outputs writes what all outputs share once, and then each type.
func outputs(b *bytes.Buffer) {
	b.WriteString("\n### All outputs\n\n")
	delivery := fieldsOf(reflect.TypeFor[Delivery]())
	table(b, rows(delivery, "", nil))
	b.WriteString("\n### All outputs over the network\n\nOne of `url` and `urls` is required.\n\n")
	remote := fieldsOf(reflect.TypeFor[Remote]())
	table(b, rows(remote, "", nil))
	for _, t := range outputTypes {
		shared := delivery
		what := "all outputs](#all-outputs)"
		if _, ok := t.new().(interface{ List() []URL }); ok {
			shared = append(shared[:len(shared):len(shared)], remote...)
			what = "all outputs](#all-outputs) and [all outputs over the network](#all-outputs-over-the-network)"
		}
		var own, other []field
		for _, f := range t.fields() {
			if findField(shared, f.name) == nil {
				own = append(own, f)
			} else {
				other = append(other, f)
			}
		}
		fmt.Fprintf(b, "\n### %s\n\n%s Also takes the keys of [%s.\n\n", t.name, t.doc, what)
		list := rows(own, "", t.defaults)
		for _, r := range rows(other, "", t.defaults) { // those with another default
			if _, differs := t.defaults[r.key]; differs {
				list = append(list, r)
			}
		}
		table(b, list)
	}
}

type row struct{ key, typ, def, doc string }

// rows lists keys, those of structs below theirs.
func rows(fs []field, path string, defaults map[string]string) []row {
	var out []row
	for _, f := range fs {
		p := sub(path, f.name)
		if f.typ.Kind() == reflect.Struct && !isScalar(f.typ) {
			out = append(out, row{p, "", "", f.doc})
			out = append(out, rows(fieldsOf(f.typ), p, defaults)...)
			continue
		}
		if f.typ.Kind() == reflect.Slice && !isScalar(f.typ.Elem()) {
			out = append(out, row{p, "list of maps", "", f.doc})
			out = append(out, rows(fieldsOf(f.typ.Elem()), p+"[]", defaults)...)
			continue
		}
		r := row{p, typeName(&f), "", f.doc}
		def, ok := defaults[p]
		if !ok {
			def = f.def
		}
		if def != "" {
			r.def = "`" + def + "`"
		}
		if f.required {
			r.def = "required"
		}
		switch {
		case f.min != "" && f.max != "":
			r.doc += " From " + f.min + " to " + f.max + "."
		case f.min != "":
			r.doc += " At least " + f.min + "."
		case f.max != "":
			r.doc += " At most " + f.max + "."
		}
		out = append(out, r)
	}
	return out
}

func table(b *bytes.Buffer, rows []row) {
	if len(rows) == 0 {
		return
	}
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", r.key, cell(r.typ), cell(r.def), cell(r.doc))
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func typeName(f *field) string {
	if f.enum != nil {
		return "`" + strings.Join(f.enum, "` `") + "`"
	}
	name := scalarName(f.typ)
	switch f.typ.Kind() {
	case reflect.Slice:
		name = "list of " + scalarName(f.typ.Elem()) + "s"
	case reflect.Map:
		name = "map of " + scalarName(f.typ.Elem()) + "s"
	}
	for word := range f.words {
		name += " or `" + word + "`"
	}
	return name
}

func scalarName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return "duration"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[Rate]():
		return "rate"
	case reflect.TypeFor[Secret]():
		return "secret"
	case reflect.TypeFor[URL]():
		return "URL"
	case reflect.TypeFor[Address]():
		return "address"
	case reflect.TypeFor[Path]():
		return "path"
	case reflect.TypeFor[Glob]():
		return "pattern"
	case reflect.TypeFor[ID]():
		return "id"
	case reflect.TypeFor[Condition]():
		return "condition"
	case reflect.TypeFor[Template]():
		return "template"
	case reflect.TypeFor[Count]():
		return "number"
	case reflect.TypeFor[RateLimit]():
		return "rate or map"
	case reflect.TypeFor[Parser]():
		return "`" + strings.Join(parserWords, "` `") + "` `regex:REGEXP` or map"
	case reflect.TypeFor[Multiline]():
		return "`" + strings.Join(multilineWords, "` `") + "` `first:REGEXP` or map"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "`true` `false`"
	case reflect.Int, reflect.Int64:
		return "number"
	}
	return "text"
}

const referenceHead = `# Configuration

<!-- Generated from the structs of the package config by go generate ./config. Do not edit. -->

weir reads YAML. Every key is optional unless it says required; an unknown key is an error. ` + "`weir check`" + ` reports
everything that is wrong at once, ` + "`weir config show`" + ` prints what is in effect, with ` + "`--origins`" + ` also from where.

**Precedence**: flag (` + "`--set key.path=value`" + `), environment, file, built-in configuration, default.

**Several files** or a directory (its ` + "`*.yaml`" + ` and ` + "`*.yml`" + `, by name) are merged: maps by key, lists one behind the other.
The same value in two files is an error.

**Environment**: every key has a variable, ` + "`WEIR_`" + ` and its path in upper case with ` + "`_`" + ` for what is no letter or digit:
` + "`WEIR_LOG_LEVEL`, `WEIR_OUTPUTS_LOKI_URL`" + `, and for the output ` + "`elasticsearch/main`" + ` of a file
` + "`WEIR_OUTPUTS_ELASTICSEARCH_MAIN_URLS`" + `. Lists are separated by commas; lists and maps can also be written as YAML in
brackets or braces. An empty variable counts as not set. A variable of an output or input without a name adds it;
one with a name must stand in a file.

**References** are filled in in values, after the YAML was read, so that a value never changes the structure:

| reference | value |
|---|---|
| ` + "`${env:NAME}`" + ` | the environment variable; an error if it is not set |
| ` + "`${env:NAME:-default}`" + ` | the same, or the default if it is not set or empty |
| ` + "`${file:/path}`" + ` | the file's text without its last line break; a relative path is beside the configuration file |
| ` + "`$${`" + ` | the characters ` + "`${`" + ` |

Inside ` + "`{ }` and `[ ]`" + ` YAML needs quotes around them. A value that becomes empty counts as not given.

**Component ids** are a type or ` + "`type/name`" + `, of letters, digits, ` + "`-` and `_`" + `.

| value | written as |
|---|---|
| duration | ` + "`250ms` `10s` `1h30m` `24h` `7d`" + ` |
| size | ` + "`512` `64KiB` `8MiB` `1GiB`" + `; ` + "`kB` `MB` `GB`" + ` are powers of 1000 |
| address | ` + "`127.0.0.1:7410` `:7411`" + ` (every address) ` + "`off`" + ` |
| condition | LogQL: ` + "`" + `{namespace="shop", level="debug"}` + "`" + ` |
| template | ` + "`${name}` and `${name:-default}`" + ` for attributes and fields, ` + "`%Y` `%m` `%d` `%H`" + ` … for the record's time in UTC |
| pattern | a path with ` + "`*` `?` `[a-z]`" + ` |
| secret | text that is never printed; better a reference |
| list | a single value stands for a list of one |
`
