package logql

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// lokiGen makes rows and queries about them, the same for the same seed.
type lokiGen struct {
	*rand.Rand
	base int64 // of the rows' times, which span an hour
}

func one[T any](g *lokiGen, of ...T) T { return of[g.IntN(len(of))] }

func (g *lokiGen) maybe(p float64, s string) string {
	if g.Float64() < p {
		return s
	}
	return ""
}

const lokiSpan = int64(3600e9)

// source makes rows of four kinds of applications, none of them at the same
// time as another.
func (g *lokiGen) source(rows int) *memSource {
	m := &memSource{blockRows: 17, prune: true, seed: 1}
	taken := make(map[int64]bool)
	total := 0.0
	times := make([]int64, 0, rows)
	for len(times) < rows {
		t := g.Int64N(lokiSpan)
		switch g.IntN(4) {
		case 0:
			t -= t % 10e9 // on the steps
		case 1:
			t -= t % 1e6
		}
		if !taken[t] {
			taken[t] = true
			times = append(times, g.base+t)
		}
	}
	for _, t := range times {
		format := one(g, "json", "logfmt", "access", "mixed")
		ls := []Label{{Name: "app", Value: format}, {Name: "pod", Value: fmt.Sprintf("p%d", g.IntN(3))}}
		if format != "mixed" && g.IntN(3) == 0 {
			ls = append(ls, Label{Name: "zone", Value: one(g, "a", "b")})
		}
		var meta []Label
		if g.IntN(3) == 0 {
			meta = append(meta, Label{Name: "trace", Value: one(g, "t1", "t2", "t3")})
		}
		if g.IntN(6) == 0 {
			meta = append(meta, Label{Name: "pod", Value: "meta"})
		}
		if g.IntN(8) == 0 {
			meta = append(meta, Label{Name: "n", Value: one(g, "7", "x", "1.5")})
		}
		sortLabels(meta)
		if total += float64(g.IntN(20)); g.IntN(15) == 0 {
			total = float64(g.IntN(5))
		}
		m.add(ls, t, g.line(format, total), meta...)
	}
	return m
}

func (g *lokiGen) line(format string, total float64) string {
	status, took, size := one(g, "200", "200", "200", "404", "500", "503"), one(g, "12ms", "1.5s", "250us", "2m3s", "0s"), one(g, "3KB", "512B", "1.5MiB", "77", "10kb")
	path, level, user := one(g, "/", "/a", "/a/b?x=1", "/cart"), one(g, "info", "warn", "error"), one(g, "ann", "bob", "")
	n := one(g, "1", "-2.5", "3e2", "0", "42", "7.25")
	addr := one(g, "10.0.0.1", "10.0.3.9", "192.168.1.7", "2001:db8::1")
	switch format {
	case "json":
		return fmt.Sprintf(`{"level":%q,"status":%s,"took":%q,"size":%q,"n":%s,"total":%g,"path":%q,"addr":%q,"user":{"name":%q,"tags":["x","y"]},"ok":%t,"none":null%s}`,
			level, status, took, size, n, total, path, addr, user, g.IntN(2) == 0, g.maybe(.2, `,"app":"inner","msg":"a \"b\" ä\n"`))
	case "logfmt":
		return fmt.Sprintf(`level=%s status=%s took=%s size=%s n=%s total=%g path="%s" addr=%s user=%s%s`,
			level, status, took, size, n, total, path, addr, user, g.maybe(.2, ` app=inner msg="a \"b\" ä" flag`))
	case "access":
		return fmt.Sprintf(`%s - %s [10/Oct/2000:13:55:36] "GET %s HTTP/1.1" %s %d %s`, addr, one(g, "-", "ann"), path, status, g.IntN(3000), took)
	}
	return one(g, lokiLines...)
}

func (g *lokiGen) matcher() string {
	return one(g, `pod="p0"`, `pod!="p1"`, `pod=~"p[01]"`, `pod!~"p2|p1"`, `zone=""`, `zone!=""`, `zone="a"`, `zone=~"a|"`, `zone!~".+"`, `pod=~"P0"`, `pod=~"(?i)P0"`)
}

func (g *lokiGen) selector(format string) string {
	m := fmt.Sprintf(`app=%q`, format)
	for g.IntN(4) == 0 {
		m += ", " + g.matcher()
	}
	return "{" + m + "}"
}

func (g *lokiGen) lineFilter() string {
	return one(g, `|= "a"`, `|= "500"`, `!= "error"`, "|~ `5\\d\\d`", "|~ `(?i)WARN|get`", "!~ `/a/b.*`", `|= "ann" or "bob"`, `!= "ann" or "bob"`, `|> "<_>500<_>"`, `!> "<_>took<_>"`,
		`|= ip("10.0.0.0/16")`, `!= ip("192.168.1.0-192.168.1.9")`, `|= ip("2001:db8::/32")`, "|~ `a` or `b`", `|= ""`, `|~ ""`, `|~ "^{"`, "|~ `\\bwarn\\b`")
}

func (g *lokiGen) parser(format string) string {
	switch format {
	case "json":
		return one(g, `| json`, `| json`, `| json`, `| json status, n, user="user.name"`, `| json st="status", tag="user.tags[1]", o="user"`, `| logfmt`, "| regexp `\"status\":(?P<status>\\d+)`", `| pattern "<_>\"status\":<status>,<_>"`)
	case "logfmt":
		return one(g, `| logfmt`, `| logfmt`, `| logfmt`, `| logfmt --strict`, `| logfmt --keep-empty`, `| logfmt --strict --keep-empty`, `| logfmt status, n, u="user"`, "| regexp `status=(?P<status>\\d+)`", `| pattern "level=<level> status=<status> <_>"`, `| json`)
	case "access":
		return one(g, `| pattern "<addr> - <user> [<_>] \"<_> <path> <_>\" <status> <size> <took>"`, "| regexp `^(?P<addr>\\S+).* (?P<status>\\d{3}) (?P<n>\\d+) (?P<took>\\S+)$`")
	}
	return one(g, `| json`, `| logfmt`, `| unpack`, `| pattern "<a>=<b> <c>"`, "| regexp `(?P<a>\\w+)=(?P<n>\\S+)`")
}

func (g *lokiGen) labelFilter(depth int) string {
	if depth > 0 && g.IntN(3) == 0 {
		return "(" + g.labelFilter(depth-1) + one(g, " and ", " or ", ", ", " ") + g.labelFilter(depth-1) + ")"
	}
	return one(g, `status="500"`, `status!="200"`, `status=~"5.."`, `status!~"4.*"`, `status >= 404`, `status == 500`, `status != 404`, `status < 500`, `took > 100ms`, `took <= 1.5s`, `took == 12ms`,
		`size > 1KB`, `size <= 1MiB`, `size != 3KB`, `n > 0`, `n <= 7.25`, `n == -2.5`, `n != 300`, `level="error"`, `level=~"err.*|warn"`, `user="ann"`, `user=""`, `user!=""`, `trace="t1"`, `trace!=""`, `trace=""`,
		`pod="p0"`, `pod_extracted="meta"`, `pod_extracted=""`, `zone="a"`, `nothing=""`, `nothing!=""`, `nothing > 3`, `nothing=~".*"`, `addr=ip("10.0.0.0/8")`, `addr!=ip("10.0.3.0-10.0.3.255")`, `app_extracted="inner"`, `app="json"`,
		`__error__=""`, `__error__!=""`, `__error__="JSONParserErr"`, `__error__!="LogfmtParserErr"`, `__error__=~".+"`, `ok="true"`, `none=""`, `path=~"/a.*"`, `user_name="ann"`)
}

func (g *lokiGen) format() string {
	return one(g, `| line_format "{{.status}} {{.user}}"`, `| line_format "{{__line__ | upper}}"`, "| line_format `{{if eq .status \"200\"}}fine{{else}}{{.path}}{{end}}`", "| line_format `{{.nothing}}x{{.n}}`",
		`| label_format st=total`, `| label_format both="{{.status}}!"`, `| label_format was=total, both="{{.status}}{{.n}}"`, `| label_format level="{{.level | upper}}", pod=app`, `| label_format zone="{{.nothing}}"`,
		`| drop status`, `| drop user, pod`, `| drop level="error"`, `| drop pod=~"p[01]", trace`, `| keep status, app`, `| keep level="error", pod`, `| drop __error__`, `| drop __error__, __error_details__`, `| decolorize`,
		"| line_format `{{ regexReplaceAll \"(\\\\d)(\\\\d+)\" .status \"${2}-${1}\" }} {{ div 7 0 }}`", "| label_format t=`{{ __timestamp__ | unixEpoch }}`", "| label_format b=`{{ .size | bytes }}`, d=`{{ .took | duration_seconds }}`",
		"| line_format `{{ range $i, $e := fromJson __line__ }}{{ $i }}={{ $e }};{{ end }}`", "| line_format `{{ .took | duration }}|{{ .n | float64 | round }}`", "| line_format `{{ .status | int | add 1 }} {{ .level | title }} {{ .path | urlencode }}`")
}

// pipeline makes stages that suit the lines, most of the time.
func (g *lokiGen) pipeline(format string) string {
	var b strings.Builder
	for g.IntN(3) == 0 {
		b.WriteString(" " + g.lineFilter())
	}
	if g.IntN(12) == 0 {
		b.WriteString(one(g, ` | trace="t1"`, ` | trace!=""`, ` | pod_extracted="meta" or n > 1`, ` | pod="p0"`, ` | zone=~"a|b"`, ` | app="json"`, ` | nothing=""`))
	}
	// One parser only, or two before anything is dropped or renamed: see the
	// documented differences.
	if g.IntN(5) > 0 {
		p := g.parser(format)
		b.WriteString(" " + p)
		if q := g.parser(format); g.IntN(8) == 0 && strings.Fields(p)[1] != strings.Fields(q)[1] {
			b.WriteString(" " + q)
		}
	}
	for g.IntN(2) == 0 {
		switch g.IntN(6) {
		case 0, 1, 2:
			b.WriteString(" | " + g.labelFilter(2))
		case 3, 4:
			f := g.format()
			b.WriteString(" " + f)
			if strings.HasPrefix(f, "| drop") || strings.HasPrefix(f, "| keep") {
				return b.String()
			}
		default:
			b.WriteString(" " + g.lineFilter())
		}
	}
	return b.String()
}

func (g *lokiGen) appFormat() string {
	return one(g, "json", "json", "logfmt", "logfmt", "access", "mixed")
}

func (g *lokiGen) logQuery() string {
	f := g.appFormat()
	return g.selector(f) + g.pipeline(f)
}

func (g *lokiGen) names() string {
	var ns []string
	for range g.IntN(3) {
		ns = append(ns, one(g, "app", "pod", "zone", "status", "level", "trace", "user", "nothing", "pod_extracted", "n", "path"))
	}
	return "(" + strings.Join(ns, one(g, ",", ", ")) + ")"
}

func (g *lokiGen) grouping() string { return one(g, "by ", "by", "without ") + g.names() }

// rangeQuery is a function over a range.
func (g *lokiGen) rangeQuery() string {
	f := g.appFormat()
	log := g.selector(f) + g.pipeline(f)
	window := "[" + one(g, "10s", "30s", "1m", "5m", "7s", "90s", "1h", "1m30s", "20m") + "]" + g.maybe(.2, " offset "+one(g, "30s", "-30s", "5m", "1m", "1h"))
	if g.IntN(2) == 0 {
		fn := one(g, "count_over_time", "rate", "bytes_over_time", "bytes_rate", "count_over_time", "rate", "absent_over_time")
		if g.IntN(2) == 0 {
			log += g.maybe(.8, ` | __error__=""`)
		}
		return fn + "(" + one(g, log+" "+window, log+window, log+" "+window) + ")"
	}
	if !strings.Contains(log, "| json") && !strings.Contains(log, "| logfmt") && !strings.Contains(log, "| regexp") && !strings.Contains(log, "| pattern") || g.IntN(3) == 0 {
		log = g.selector(f) + " " + g.parser(f)
	}
	log += " | unwrap " + one(g, "n", "status", "total", "total", "n", "duration(took)", "duration_seconds(took)", "bytes(size)", "took", "nothing", "size", "duration(n)", "bytes(n)") + g.maybe(.7, ` | __error__=""`) + g.maybe(.1, ` | `+g.labelFilter(1))
	fn := one(g, "sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "stdvar_over_time", "stddev_over_time", "quantile_over_time", "first_over_time", "last_over_time", "rate", "rate_counter", "absent_over_time")
	arg, group := "", ""
	if fn == "quantile_over_time" {
		arg = one(g, "0.5", "0.99", "0", "1", ".25", "0.123", "1.5") + ", "
	}
	if g.IntN(2) == 0 && fn != "sum_over_time" && fn != "rate" && fn != "rate_counter" && fn != "absent_over_time" || g.IntN(20) == 0 {
		// Loki does not unwrap what a parser extracts if nothing is grouped by.
		if group = " " + g.grouping(); strings.Contains(group, "by") && strings.HasSuffix(group, "()") {
			group = ""
		}
	}
	return fn + "(" + arg + log + " " + window + ")" + group
}

// vectorQuery yields series.
func (g *lokiGen) vectorQuery(depth int) string {
	if depth <= 0 {
		return one(g, g.rangeQuery(), g.rangeQuery(), g.rangeQuery(), g.rangeQuery(), "vector("+one(g, "0", "1", "2.5", "1e3")+")")
	}
	switch g.IntN(10) {
	case 0, 1, 2, 3:
		fn := one(g, "sum", "sum", "avg", "min", "max", "count", "stddev", "stdvar")
		in := g.vectorQuery(depth - 1)
		return one(g, fn+" "+g.grouping()+" ("+in+")", fn+"("+in+") "+g.grouping(), fn+"("+in+")")
	case 4, 5, 6:
		return g.binary(depth)
	case 7:
		return fmt.Sprintf("label_replace(%s, %q, %q, %q, %q)", g.vectorQuery(depth-1), one(g, "pod", "new", "app", "zone"), one(g, "$1", "x-$1", "", "${1}y$2", "const"), one(g, "pod", "app", "status", "nothing", "zone"), one(g, "(.*)", "p(.)", "(j)(.*)", "nope", ".*", ""))
	}
	return g.rangeQuery()
}

func (g *lokiGen) binary(depth int) string {
	op := one(g, "+", "-", "*", "/", "%", "^", "==", "!=", ">", ">=", "<", "<=", "and", "or", "unless")
	set := op == "and" || op == "or" || op == "unless"
	if !set && binding(op) == 3 {
		op += g.maybe(.4, " bool")
	}
	side := func() string { return g.vectorQuery(depth - 1) }
	if g.IntN(3) > 0 { // two sides that match
		f := g.appFormat()
		by := one(g, "by (pod)", "by (app, pod)", "by (pod, zone)", "by (status)", "")
		p := g.parser(f)
		side = func() string {
			return fmt.Sprintf("sum %s (%s(%s %s [%s]))", by, one(g, "count_over_time", "rate", "bytes_over_time"), g.selector(f), p+` | __error__=""`, one(g, "1m", "5m", "30s"))
		}
	}
	if !set && g.IntN(4) == 0 {
		return "(" + one(g, side()+" "+op+" "+g.number(), g.number()+" "+op+" "+side()) + ")"
	}
	match := ""
	if g.IntN(3) == 0 {
		match = " " + one(g, "on", "ignoring") + g.names()
		if !set {
			match += g.maybe(.4, " "+one(g, "group_left", "group_right")+one(g, "()", "(zone)", "(app, pod)"))
		}
	}
	return "(" + side() + " " + op + match + " " + side() + ")"
}

func (g *lokiGen) number() string {
	return one(g, "0", "1", "2", "0.5", "100", "-1", "3", "1e3", "(1+1)", "(2 * 3 - 1)")
}

// metricQuery is any query about numbers. Whether order matters, and whether
// equal values may be told apart either way, shows in its outermost function.
func (g *lokiGen) metricQuery() string {
	in := g.vectorQuery(g.IntN(3))
	switch g.IntN(12) {
	case 0:
		return "sort(" + in + ")"
	case 1:
		return "sort_desc(" + in + ")"
	case 2:
		return fmt.Sprintf("topk(%d, %s)%s", 1+g.IntN(4), in, g.maybe(.3, " "+g.grouping()))
	case 3:
		return fmt.Sprintf("bottomk%s(%d, %s)", g.maybe(.3, " "+g.grouping()+" "), 1+g.IntN(4), in)
	case 4:
		return g.number() + " " + one(g, "+", "-", "*", "/", "%", "^", "==", ">", "<=", "!=", "> bool") + " " + g.number()
	}
	return in
}

// params are when to evaluate a query. Times are whole milliseconds, as that is
// how Loki tells them.
func (g *lokiGen) params(lines bool) Params {
	p := Params{Limit: one(g, 5000, 5000, 100, 7), Start: g.base + g.Int64N(lokiSpan), Now: g.base}
	if g.IntN(3) > 0 {
		p.Start -= p.Start % 10e9
	}
	p.Start -= p.Start % 1e6
	if lines {
		p.Direction = one(g, Forward, Backward)
		p.End = p.Start + g.Int64N(lokiSpan)
		return p
	}
	if g.IntN(3) == 0 {
		p.End, p.Start = p.Start, 0
		return p
	}
	p.Direction = Forward
	p.Step = one(g, int64(10e9), 30e9, 60e9, 7e9, 300e9, 1e9, 45e9, 1500e6)
	p.End = p.Start + p.Step*g.Int64N(60) + g.Int64N(p.Step)
	p.End -= p.End % 1e6
	return p
}
