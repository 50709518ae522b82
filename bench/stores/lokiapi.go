package stores

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weirlog/weir/bench/mixed"
)

// lokiAsks are the queries in LogQL over Loki's HTTP API.
func lokiAsks(q Query, t *mixed.Truth) []Ask {
	all := fmt.Sprintf("{cluster=%q}", mixed.Cluster)
	span := fmt.Sprintf("%dm", t.NumMinutes())
	switch q {
	case Needle:
		return []Ask{lokiLines(t, fmt.Sprintf("%s |= %q", all, t.Needle), 10)}
	case AbsentPhrase:
		return []Ask{lokiLines(t, fmt.Sprintf("%s |= %q", all, mixed.Absent), 10)}
	case LastOfLabel:
		return []Ask{lokiLines(t, fmt.Sprintf("{app=%q}", mixed.App), mixed.Last)}
	case LiteralCount:
		return []Ask{lokiInstant(t, fmt.Sprintf("sum(count_over_time(%s |= %q [%s]))", all, mixed.Literal, span), "")}
	case JSON503:
		return []Ask{lokiInstant(t, fmt.Sprintf(`sum(count_over_time(%s | json | http_status="503" [%s]))`, all, span), "")}
	case TopRoutes:
		return []Ask{lokiInstant(t, fmt.Sprintf(`topk(10, sum by (http_route) (count_over_time(%s | json | http_route!="" [%s])))`, all, span), "http_route")}
	case MinutesByStream:
		return []Ask{lokiRange(t, fmt.Sprintf("sum by (namespace, app, pod, container) (count_over_time(%s[1m]))", all), "pod")}
	case MinutesByApp:
		return []Ask{lokiRange(t, fmt.Sprintf("sum by (app) (count_over_time(%s[1m]))", all), "app")}
	case ErrorsByMinute:
		return []Ask{lokiRange(t, fmt.Sprintf("sum by (detected_level) (count_over_time(%s | detected_level=~%q [1m]))", all, strings.Join(errorLevels, "|")), "detected_level")}
	case Volume:
		return []Ask{lokiRange(t, fmt.Sprintf("sum by (detected_level) (count_over_time(%s[1m]))", all), "detected_level")}
	}
	return nil
}

type lokiAnswer struct {
	Status string `json:"status"`
	Data   struct {
		ResultType string `json:"resultType"`
		Result     []struct {
			Stream map[string]string    `json:"stream"`
			Metric map[string]string    `json:"metric"`
			Values [][2]json.RawMessage `json:"values"`
			Value  [2]json.RawMessage   `json:"value"`
		} `json:"result"`
	} `json:"data"`
}

func lokiDecode(body []byte, kind string) (*lokiAnswer, error) {
	var a lokiAnswer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, err
	}
	if a.Status != "success" || a.Data.ResultType != kind {
		return nil, fmt.Errorf("a %s that is a %s", a.Status, a.Data.ResultType)
	}
	return &a, nil
}

func lokiLines(t *mixed.Truth, query string, limit int) Ask {
	return Ask{
		Path: "/loki/api/v1/query_range", Text: query,
		Form: url.Values{
			"query": {query}, "limit": {strconv.Itoa(limit)}, "direction": {"backward"},
			"start": {strconv.FormatInt(t.Config.Start.UnixNano(), 10)}, "end": {strconv.FormatInt(t.End().UnixNano(), 10)},
		},
		Decode: func(body []byte) (*Answer, error) {
			a, err := lokiDecode(body, "streams")
			if err != nil {
				return nil, err
			}
			var out Answer
			for _, r := range a.Data.Result {
				for _, v := range r.Values {
					var at, text string
					if err := json.Unmarshal(v[0], &at); err != nil {
						return nil, err
					}
					if err := json.Unmarshal(v[1], &text); err != nil {
						return nil, err
					}
					ns, err := strconv.ParseInt(at, 10, 64)
					if err != nil {
						return nil, err
					}
					out.Lines = append(out.Lines, Line{ns, text})
				}
			}
			return &out, nil
		},
	}
}

// sample reads a point: seconds, and a number as text.
func sample(v [2]json.RawMessage) (at float64, n int64, err error) {
	if err := json.Unmarshal(v[0], &at); err != nil {
		return 0, 0, err
	}
	var text string
	if err := json.Unmarshal(v[1], &text); err != nil {
		return 0, 0, err
	}
	f, err := strconv.ParseFloat(text, 64)
	return at, int64(f), err
}

func lokiInstant(t *mixed.Truth, query, by string) Ask {
	return Ask{
		Path: "/loki/api/v1/query", Text: query,
		Form: url.Values{"query": {query}, "time": {strconv.FormatInt(t.End().UnixNano(), 10)}},
		Decode: func(body []byte) (*Answer, error) {
			a, err := lokiDecode(body, "vector")
			if err != nil {
				return nil, err
			}
			out := Answer{Groups: make(map[string]int64)}
			for _, r := range a.Data.Result {
				_, n, err := sample(r.Value)
				if err != nil {
					return nil, err
				}
				out.Groups[r.Metric[by]] += n
			}
			return &out, nil
		},
	}
}

// lokiRange asks at the end of each minute: LogQL looks back.
func lokiRange(t *mixed.Truth, query, by string) Ask {
	first := t.Config.Start.Add(time.Minute)
	return Ask{
		Path: "/loki/api/v1/query_range", Text: query,
		Form: url.Values{
			"query": {query}, "step": {"60s"},
			"start": {strconv.FormatInt(first.UnixNano(), 10)}, "end": {strconv.FormatInt(t.End().UnixNano(), 10)},
		},
		Decode: func(body []byte) (*Answer, error) { return matrix(body, t, first, by) },
	}
}

// matrix reads a matrix whose first point is of a time.
func matrix(body []byte, t *mixed.Truth, first time.Time, by string) (*Answer, error) {
	a, err := lokiDecode(body, "matrix")
	if err != nil {
		return nil, err
	}
	out := Answer{Minutes: make(map[string][]int64)}
	for _, r := range a.Data.Result {
		m := out.Minutes[r.Metric[by]]
		if m == nil {
			m = make([]int64, t.NumMinutes())
			out.Minutes[r.Metric[by]] = m
		}
		for _, v := range r.Values {
			at, n, err := sample(v)
			if err != nil {
				return nil, err
			}
			i := int((at - float64(first.Unix())) / 60)
			if i < 0 || i >= len(m) {
				return nil, fmt.Errorf("a point at %v", at)
			}
			m[i] += n
		}
	}
	return &out, nil
}
