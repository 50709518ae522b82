package stores

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/bench/mixed"
	"github.com/weirlog/weir/bench/peers"
)

// VictoriaLogs is VictoriaLogs on a single node. It takes Loki's pushes; lines
// that are JSON become fields, msg the message, as its documentation has it.
// Searches look into the message only.
func VictoriaLogs() Store {
	s := victoria("/insert/loki/api/v1/push?_msg_field=msg")
	s.Name = "victoria-logs"
	s.Asks = victoriaAsks
	return s
}

// VictoriaLogsText is the same with lines kept as they are: the message is the
// line, and JSON is parsed when somebody asks, as with Loki.
func VictoriaLogsText() Store {
	s := victoria("/insert/loki/api/v1/push?disable_message_parsing=1")
	s.Name = "victoria-logs-text"
	s.Asks = victoriaTextAsks
	return s
}

func victoria(push string) Store {
	return Store{
		Programs: []string{"victoria-logs", "victoria-logs-prod", "victoria-logs/victoria-logs"},
		Version: func(binary string) (string, error) {
			out, err := exec.Command(binary, "-version").CombinedOutput()
			return strings.TrimSpace(string(out)), err
		},
		Ack: "in memory; on disk within 5 s",
		Prepare: func(j *Job) (peers.Command, error) {
			return peers.Command{Args: []string{
				j.Binary, "-storageDataPath=" + j.Dir + "/data", "-httpListenAddr=" + j.Address(), "-retentionPeriod=100y", "-loggerLevel=WARN",
			}}, nil
		},
		Ready: "/health",
		Push:  push,
		Settle: func(ctx context.Context, c *http.Client, j *Job) (bool, error) {
			if _, err := call(ctx, c, http.MethodGet, j.URL()+"/internal/force_flush"); err != nil {
				return false, err
			}
			page, err := call(ctx, c, http.MethodGet, j.URL()+"/metrics")
			return metric(page, "vl_active_merges") == 0 && metric(page, "vl_pending_rows") == 0, err
		},
		Quiet: 20 * time.Second,
		Data:  []string{"data"},
	}
}

// all is the selector of every stream.
var all = fmt.Sprintf("{cluster=%q}", mixed.Cluster)

// victoriaAsks are the queries in LogsQL. It searches words where others search
// bytes; both ways are asked.
func victoriaAsks(q Query, t *mixed.Truth) []Ask {
	level := ` | format if (detected_level:"") "<level>" as detected_level`
	in := strings.Join(errorLevels, ",")
	switch q {
	case Needle:
		return words(t, t.Needle)
	case AbsentPhrase:
		return words(t, mixed.Absent)
	case LastOfLabel:
		return []Ask{victoriaLines(t, "", fmt.Sprintf("{app=%q} | sort by (_time desc) limit %d", mixed.App, mixed.Last))}
	case LiteralCount:
		return []Ask{victoriaStats(t, fmt.Sprintf("%s ~%q | stats count() n", all, mixed.Literal), "")}
	case JSON503:
		return []Ask{victoriaStats(t, all+" http_status:=503 | stats count() n", "")}
	case TopRoutes:
		return []Ask{victoriaStats(t, all+" http_route:* | stats by (http_route) count() n | sort by (n desc) limit 10", "http_route")}
	case MinutesByStream:
		return []Ask{victoriaRange(t, all+" | stats by (namespace, app, pod, container) count() n", "pod")}
	case MinutesByApp:
		return []Ask{victoriaRange(t, all+" | stats by (app) count() n", "app")}
	case ErrorsByMinute:
		return []Ask{victoriaRange(t, fmt.Sprintf("%s (detected_level:in(%s) or level:in(%s))%s | stats by (detected_level) count() n", all, in, in, level), "detected_level")}
	case Volume:
		return []Ask{victoriaRange(t, all+level+" | stats by (detected_level) count() n", "detected_level")}
	}
	return nil
}

// victoriaTextAsks differ where members of JSON lines are asked for. Words that
// such lines must have come first, as the documentation advises.
func victoriaTextAsks(q Query, t *mixed.Truth) []Ask {
	const level = ` | unpack_json if (detected_level:"") fields (level) | format if (detected_level:"") "<level>" as detected_level`
	in, or := strings.Join(errorLevels, ","), strings.Join(errorLevels, " or ")
	switch q {
	case JSON503:
		return []Ask{victoriaStats(t, all+" http_status 503 | unpack_json fields (http_status) | filter http_status:=503 | stats count() n", "")}
	case TopRoutes:
		return []Ask{victoriaStats(t, all+" http_route | unpack_json fields (http_route) | filter http_route:* | stats by (http_route) count() n | sort by (n desc) limit 10", "http_route")}
	case ErrorsByMinute:
		return []Ask{victoriaRange(t, fmt.Sprintf(`%s (detected_level:in(%s) or detected_level:"" (%s))%s | filter detected_level:in(%s) | stats by (detected_level) count() n`, all, in, or, level, in), "detected_level")}
	case Volume:
		return []Ask{victoriaRange(t, all+level+" | stats by (detected_level) count() n", "detected_level")}
	}
	return victoriaAsks(q, t)
}

func words(t *mixed.Truth, text string) []Ask {
	return []Ask{victoriaLines(t, "words", fmt.Sprintf("%s %q", all, text)), victoriaLines(t, "bytes", fmt.Sprintf("%s ~%q", all, text))}
}

func victoriaForm(t *mixed.Truth, query string) url.Values {
	return url.Values{"query": {query}, "start": {strconv.FormatInt(t.Config.Start.UnixNano(), 10)}, "end": {strconv.FormatInt(t.End().UnixNano(), 10)}}
}

// victoriaLines reads times only: a line of JSON is not kept as it was.
func victoriaLines(t *mixed.Truth, label, query string) Ask {
	return Ask{
		Label: label, Path: "/select/logsql/query", Form: victoriaForm(t, query), Text: query,
		Decode: func(body []byte) (*Answer, error) {
			var out Answer
			for d := json.NewDecoder(bytes.NewReader(body)); d.More(); {
				var l struct {
					Time time.Time `json:"_time"`
				}
				if err := d.Decode(&l); err != nil {
					return nil, err
				}
				out.Lines = append(out.Lines, Line{Time: l.Time.UnixNano()})
			}
			return &out, nil
		},
	}
}

func victoriaStats(t *mixed.Truth, query, by string) Ask {
	return Ask{
		Path: "/select/logsql/query", Form: victoriaForm(t, query), Text: query,
		Decode: func(body []byte) (*Answer, error) {
			out := Answer{Groups: make(map[string]int64)}
			for d := json.NewDecoder(bytes.NewReader(body)); d.More(); {
				row := make(map[string]string)
				if err := d.Decode(&row); err != nil {
					return nil, err
				}
				n, err := strconv.ParseInt(row["n"], 10, 64)
				if err != nil {
					return nil, err
				}
				out.Groups[row[by]] += n
			}
			return &out, nil
		},
	}
}

// victoriaRange asks for minutes from Start on: LogsQL looks ahead.
func victoriaRange(t *mixed.Truth, query, by string) Ask {
	form := victoriaForm(t, query)
	form.Set("step", "1m")
	return Ask{
		Path: "/select/logsql/stats_query_range", Form: form, Text: query,
		Decode: func(body []byte) (*Answer, error) { return matrix(body, t, t.Config.Start, by) },
	}
}
