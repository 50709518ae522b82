package config

import (
	"fmt"
	"strings"

	"github.com/weirlog/weir/output"
)

// HTTPOutput sends to any URL.
type HTTPOutput struct {
	Remote      `yaml:",inline"`
	Method      string   `yaml:"method" enum:"POST,PUT,PATCH" default:"POST" doc:"Method of the requests."`
	Format      string   `yaml:"format" enum:"ndjson,json_array,lines,template" default:"ndjson" doc:"Body. ndjson: an object a line. json_array: one array of them. lines: only the texts. template: see record."`
	Record      string   `yaml:"record" doc:"What is written for a record with format template, such as '{\"ts\":{{.time}},\"line\":{{.body}},\"ns\":{{.namespace}}}'; values are written as JSON."`
	Before      string   `yaml:"before" doc:"What stands before the first record."`
	Between     string   `yaml:"between" default:"\n" doc:"What stands between two records, with format template."`
	After       string   `yaml:"after" doc:"What stands behind the last record."`
	ContentType string   `yaml:"content_type" doc:"Content-Type of the requests; that of the format if empty."`
	Success     []string `yaml:"success" default:"[2xx]" doc:"Statuses that mean the records are taken, such as 200 or 2xx."`
	Reject      []string `yaml:"reject" default:"[400, 422]" doc:"Statuses that mean the records are bad: the culprits are searched and become dead letters."`
	RetryOn     []string `yaml:"retry_on" doc:"Statuses that mean to try again, though they would mean something else."`
	Compression string   `yaml:"compression" enum:"none,gzip,zstd" default:"none" doc:"Compression of requests."`
	IDs         bool     `yaml:"ids" default:"false" doc:"Adds the record's id as log_record_uid, for receivers that remove doubles; and Idempotency-Key, a hash of the ids, to every request."`
	Keys        Keys     `yaml:"keys" doc:"Names of the members that every object has."`
	Delivery    `yaml:",inline"`
}

// Endpoints returns the connection settings.
func (o *HTTPOutput) Endpoints() *Remote { return &o.Remote }

func (o *HTTPOutput) check(k *checker, p string) {
	k.keys(p, o.Keys)
	for name, list := range map[string][]string{"success": o.Success, "reject": o.Reject, "retry_on": o.RetryOn} {
		for i, s := range list {
			if !statusPattern(s) {
				k.err(fmt.Sprintf("%s.%s[%d]", p, name, i), "bad status %q", shorten(s)).Hint = "such as 200, 20x or 2xx"
			}
		}
	}
	if len(o.Success) == 0 {
		k.err(p+".success", "is empty: nothing could ever be delivered")
	}
	switch {
	case o.Format == "template" && o.Record == "":
		k.err(p+".format", "template needs record").Hint = `such as record: '{"ts":{{.time}},"line":{{.body}}}'`
	case o.Format != "template" && o.Record != "":
		k.err(p+".record", "needs format: template")
	case o.Format != "template" && (o.Before != "" || o.After != ""):
		k.err(p+".format", "before and after need format: template")
	}
	if strings.ContainsAny(o.ContentType, "\r\n\x00") {
		k.err(p+".content_type", "holds a line break")
	}
	if o.Record != "" {
		if _, err := output.ParseRecordTemplate(o.Record); err != nil {
			k.err(p+".record", "bad template: %s", err)
		}
	}
}

// statusPattern reports whether s is a status such as 200, 20x or 2xx.
func statusPattern(s string) bool {
	return len(s) == 3 && s[0] >= '1' && s[0] <= '5' && digitOrX(s[1]) && digitOrX(s[2]) && (s[1] != 'x' || s[2] == 'x')
}

func digitOrX(c byte) bool { return c >= '0' && c <= '9' || c == 'x' }
