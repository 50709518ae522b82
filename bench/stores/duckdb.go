package stores

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/bench/mixed"
	"github.com/weirlog/weir/bench/peers"
)

// DuckDB reads weir's segments, which are Parquet files, with SQL. It knows
// nothing of weir's index.
func DuckDB() Store {
	return Store{
		Name: "duckdb", Programs: []string{"duckdb-server"}, Files: "weir",
		Ack: "takes nothing: it reads weir's files",
		Prepare: func(j *Job) (peers.Command, error) {
			return peers.Command{Args: []string{j.Binary, "-listen", j.Address(), "-files", filepath.Join(j.Of, "state/store/*/*.parquet")}}, nil
		},
		Ready: "/ready",
		Asks:  sqlAsks,
	}
}

// sqlAsks are the queries as SQL over the view logs.
func sqlAsks(q Query, t *mixed.Truth) []Ask {
	const zoned = "timestamptz '2006-01-02 15:04:05Z'"
	where := fmt.Sprintf("where cluster = '%s' and time >= %s and time < %s", mixed.Cluster, t.Config.Start.UTC().Format(zoned), t.End().UTC().Format(zoned))
	minutes := func(by, more string) []Ask {
		return []Ask{sqlMinutes(t, fmt.Sprintf("select %s, epoch_us(time) // 60000000 as m, count(*) from logs %s %s group by all", by, where, more))}
	}
	// OpenTelemetry's numbers; weir's names of them are those of detected_level.
	const severity = "case when severity >= 21 then 'fatal' when severity >= 17 then 'error' when severity >= 13 then 'warn' when severity >= 9 then 'info' when severity >= 5 then 'debug' when severity >= 1 then 'trace' else 'unknown' end"
	switch q {
	case Needle:
		return []Ask{sqlLines(fmt.Sprintf("select epoch_us(time), body from logs %s and contains(body, '%s') limit 10", where, t.Needle))}
	case AbsentPhrase:
		return []Ask{sqlLines(fmt.Sprintf("select epoch_us(time), body from logs %s and contains(body, '%s') limit 10", where, mixed.Absent))}
	case LastOfLabel:
		return []Ask{sqlLines(fmt.Sprintf("select epoch_us(time), body from logs %s and app = '%s' order by time desc limit %d", where, mixed.App, mixed.Last))}
	case LiteralCount:
		return []Ask{sqlGroups("", fmt.Sprintf("select '', count(*) from logs %s and contains(body, '%s')", where, mixed.Literal))}
	case JSON503:
		return []Ask{
			sqlGroups("column", fmt.Sprintf(`select '', count(*) from logs %s and "json.http_status" = '503'`, where)),
			sqlGroups("body", fmt.Sprintf(`select '', count(*) from logs %s and body_is_json and json_extract_string(body, '$.http_status') = '503'`, where)),
		}
	case TopRoutes:
		const by = "select %s as r, count(*) as n from logs %s and r is not null group by r order by n desc limit 10"
		return []Ask{
			sqlGroups("column", fmt.Sprintf(by, `"json.http_route"`, where)),
			sqlGroups("body", fmt.Sprintf(by, "case when body_is_json then json_extract_string(body, '$.http_route') end", where)),
		}
	case MinutesByStream:
		return []Ask{sqlMinutes(t, fmt.Sprintf("select pod, epoch_us(time) // 60000000 as m, count(*) from logs %s group by namespace, app, pod, container, m", where))}
	case MinutesByApp:
		return minutes("app", "")
	case ErrorsByMinute:
		return minutes(severity+" as level", "and severity >= 17")
	case Volume:
		return minutes(severity+" as level", "")
	}
	return nil
}

func sqlAsk(label, query string, decode func(rows [][]any) (*Answer, error)) Ask {
	return Ask{
		Label: label, Path: "/query", Post: true, Form: url.Values{"q": {query}}, Text: query,
		Decode: func(body []byte) (*Answer, error) {
			var rows [][]any
			d := json.NewDecoder(strings.NewReader(string(body)))
			d.UseNumber()
			if err := d.Decode(&rows); err != nil {
				return nil, err
			}
			return decode(rows)
		},
	}
}

// number reads a column that is one.
func number(v any) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%v is no number", v)
	}
	return strconv.ParseInt(n.String(), 10, 64)
}

// sqlLines reads times to the microsecond, which is what DuckDB has of times in
// UTC.
func sqlLines(query string) Ask {
	return sqlAsk("", query, func(rows [][]any) (*Answer, error) {
		out := Answer{Unit: time.Microsecond}
		for _, r := range rows {
			at, err := number(r[0])
			if err != nil {
				return nil, err
			}
			out.Lines = append(out.Lines, Line{at * 1000, fmt.Sprint(r[1])})
		}
		return &out, nil
	})
}

func sqlGroups(label, query string) Ask {
	return sqlAsk(label, query, func(rows [][]any) (*Answer, error) {
		out := Answer{Groups: make(map[string]int64)}
		for _, r := range rows {
			n, err := number(r[1])
			if err != nil {
				return nil, err
			}
			out.Groups[fmt.Sprint(r[0])] = n
		}
		return &out, nil
	})
}

// sqlMinutes counts minutes as numbers: date_trunc of times with a zone costs
// DuckDB ten times the rest.
func sqlMinutes(t *mixed.Truth, query string) Ask {
	return sqlAsk("", query, func(rows [][]any) (*Answer, error) {
		out := Answer{Minutes: make(map[string][]int64)}
		for _, r := range rows {
			at, err := number(r[1])
			if err != nil {
				return nil, err
			}
			n, err := number(r[2])
			if err != nil {
				return nil, err
			}
			name := fmt.Sprint(r[0])
			if out.Minutes[name] == nil {
				out.Minutes[name] = make([]int64, t.NumMinutes())
			}
			i := int(at - t.Config.Start.Unix()/60)
			if i < 0 || i >= t.NumMinutes() {
				return nil, fmt.Errorf("a count of minute %d", at)
			}
			out.Minutes[name][i] += n
		}
		return &out, nil
	})
}
