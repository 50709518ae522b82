package output

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/wire/elastic"
)

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "600", "99999999999999999999", "-1", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 9999 07:28:00 GMT", "1e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := parseRetryAfter(s, time.Unix(0, 0)); d < 0 || d > MaxRetryAfter {
			t.Errorf("%q → %v", s, d)
		}
	})
}

func FuzzPlainReason(f *testing.F) {
	for _, s := range []string{"", "a 'b' c", `"x`, "[[]]{", "don't", "\x1b]0;x\a", "\xff\xfe", strings.Repeat("x", 1000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := plainReason(s)
		if len(r) > maxReason+8 {
			t.Errorf("%d bytes", len(r))
		}
		for _, c := range r {
			if unicode.IsControl(c) {
				t.Errorf("%q holds %q", r, c)
			}
		}
		// Whatever is around it, nothing of a quoted value comes through.
		if q := plainReason(`value "` + strings.ReplaceAll(s, `"`, "") + `canary" bad`); strings.Contains(q, "canary") {
			t.Errorf("%q", q)
		}
	})
}

// FuzzBulkAnswer feeds any answer: the outcome is an error, or a failure per
// refused item, in order and within the parts.
func FuzzBulkAnswer(f *testing.F) {
	f.Add([]byte(bulkAnswer(item("create", 201, "", ""), item("create", 429, "x", "y"), item("create", 400, "mapper_parsing_exception", "failed to parse field [a]"))))
	f.Add([]byte(bulkAnswer(item("create", 403, "a", "b"), item("index", 403, "a", "b"), item("create", 403, "a", "b"))))
	f.Add([]byte(`{"errors":true,"items":[{},{},{}]}`))
	f.Add([]byte("<html>"))
	parts := partsOf(batchOf(testStream, "a"), batchOf(testStream, "b", "c"))
	o := &Elasticsearch{client: &client{files: new(material)}, create: true}
	f.Fuzz(func(t *testing.T, body []byte) {
		items, err := elastic.ParseBulk(body, 3)
		if err != nil {
			return
		}
		res, err := o.judge(parts, items, 0, 0)
		if err != nil {
			wantKind(t, err, ack.Unauthorized)
			return
		}
		last := -1
		for _, fl := range res.Failures {
			k := 0
			if fl.Part > 0 {
				k = 1 + int(fl.Record)
			}
			if fl.Part > 1 || int(fl.Record) >= parts[fl.Part].Len() || k <= last {
				t.Fatalf("failures %+v", res.Failures)
			}
			last = k
			if st := items[k].Status; st >= 200 && st < 300 || st == http.StatusTooManyRequests && fl.Permanent || st >= 500 && fl.Permanent {
				t.Fatalf("item %+v became %+v", items[k], fl)
			}
			for _, c := range fl.Reason {
				if unicode.IsControl(c) {
					t.Fatalf("reason %q", fl.Reason)
				}
			}
		}
	})
}
