package read

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weirlog/weir/show"
)

// streams makes one show.Stream of equal sets of labels.
type streams struct {
	mu   sync.Mutex
	set  map[string]*show.Stream
	json map[string]*show.Stream // by the labels' JSON as it came
}

// maxStreams bounds what is remembered; then it is forgotten and begun anew.
const maxStreams = 100_000

func (t *streams) get(labels map[string]string) *show.Stream {
	s := show.NewStream(labels)
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.set[s.Text]; old != nil {
		return old
	}
	if t.set == nil || len(t.set) >= maxStreams {
		t.set = make(map[string]*show.Stream)
	}
	t.set[s.Text] = s
	return s
}

// byText returns the stream whose labels came as this text before, or nil.
func (t *streams) byText(text string) *show.Stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.json[text]
}

// note remembers how the labels of a stream came.
func (t *streams) note(text string, s *show.Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.json == nil || len(t.json) >= maxStreams {
		t.json = make(map[string]*show.Stream)
	}
	t.json[text] = s
}

// Entries returns the lines of an answer, those of a stream in the order of the
// answer. They point into the answer, whose Result must not change any more, and
// may share maps of metadata.
func (c *Client) Entries(a *Answer) ([]show.Entry, error) {
	if a.Data.ResultType != "streams" {
		return nil, fmt.Errorf("%s answers with %s, not with lines", c.What, a.Data.ResultType)
	}
	out, err := c.decodeOwned(a.Data.Result)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s cannot be read: %w", c.What, err)
	}
	return out, nil
}

// Series is a series of numbers; an instant query has one point in each.
type Series struct {
	Labels map[string]string // nil for a number without series
	Points []show.Point
}

// Series returns the numbers of an answer.
func (c *Client) Series(a *Answer) ([]Series, error) {
	var list []struct {
		Labels map[string]string `json:"metric"`
		Value  point             `json:"value"`
		Values []point           `json:"values"`
	}
	var err error
	switch a.Data.ResultType {
	case "matrix", "vector":
		err = json.Unmarshal(a.Data.Result, &list)
	case "scalar":
		var p point
		err = json.Unmarshal(a.Data.Result, &p)
		if err == nil {
			return []Series{{Points: []show.Point{show.Point(p)}}}, nil
		}
	case "streams":
		return nil, fmt.Errorf("%s answers with lines", c.What)
	default:
		err = fmt.Errorf("unknown kind %q", a.Data.ResultType)
	}
	if err != nil {
		return nil, fmt.Errorf("the answer of %s cannot be read: %w", c.What, err)
	}
	out := make([]Series, len(list))
	for i, l := range list {
		out[i].Labels = l.Labels
		if a.Data.ResultType == "vector" {
			l.Values = []point{l.Value}
		}
		for _, p := range l.Values {
			out[i].Points = append(out[i].Points, show.Point(p))
		}
	}
	return out, nil
}

// point is [seconds, "value"].
type point show.Point

// UnmarshalJSON implements json.Unmarshaler.
func (p *point) UnmarshalJSON(b []byte) error {
	var seconds float64
	pair := [2]any{&seconds, &p.Value}
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	sec, frac := math.Modf(seconds)
	p.Time = time.Unix(int64(sec), int64(math.Round(frac*1e3))*1e6)
	return nil
}

// Names returns the names of labels in a range, [from, to); of all time if both
// are zero, where the server allows it.
func (c *Client) Names(ctx context.Context, from, to int64) ([]string, error) {
	var a struct {
		Data []string `json:"data"`
	}
	err := c.Get(ctx, "/loki/api/v1/labels", c.span(from, to), &a)
	return a.Data, err
}

// Values returns the values of a label; see Names.
func (c *Client) Values(ctx context.Context, name string, from, to int64) ([]string, error) {
	var a struct {
		Data []string `json:"data"`
	}
	err := c.Get(ctx, "/loki/api/v1/label/"+url.PathEscape(name)+"/values", c.span(from, to), &a)
	slices.Sort(a.Data)
	return a.Data, err
}

func (c *Client) span(from, to int64) url.Values {
	form := url.Values{}
	switch {
	case from != 0 || to != 0:
		form.Set("start", strconv.FormatInt(from, 10))
		form.Set("end", strconv.FormatInt(to, 10))
	case c.Local:
		form.Set("start", "0")
	}
	return form
}
