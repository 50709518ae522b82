// Package datadog reads the logs that Datadog's intake takes, as its agent and its
// libraries send them: an array of objects, one object, or lines of them.
//
//	message            the body, byte for byte
//	timestamp, date    Time (milliseconds, or RFC 3339)
//	status             the severity
//	hostname           the Stream's node
//	service            the Stream's service_name
//	ddsource           the Stream's source
//	ddtags             the Stream's attributes, Kubernetes' tags by canonical names
//	everything else    fields
//
// https://docs.datadoghq.com/api/latest/logs/#send-logs
package datadog

import (
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/document"
	"github.com/weirlog/weir/wire/lines"
)

// Sender is what the query of a request says of all its logs (ddsource, ddtags,
// hostname, service), in the names of a log.
type Sender struct {
	Source, Tags, Host, Service string
}

// Decoder reads requests. It is for one goroutine; the cache may be shared.
type Decoder struct {
	lines  *lines.Decoder
	limits wire.Limits
	key    []byte
}

var rules = document.Datadog()

// NewDecoder returns a decoder. Zero limits are the defaults.
func NewDecoder(l wire.Limits, cache *wire.StreamCache) *Decoder {
	return &Decoder{lines: lines.NewDecoder(l, cache, rules), limits: l.WithDefaults()}
}

// Decode decodes the bytes of body in b's buffer, which it changes. text says that
// it is no JSON but lines of text. Otherwise it is as lines.Decoder's Decode.
func (d *Decoder) Decode(b *record.Batch, body record.Span, text bool, from Sender, tenant string, now int64) (wire.Outcome, error) {
	var s lines.Sender
	if from != (Sender{}) {
		a := document.Attrs{Limits: &d.limits}
		a.Put(record.AttrNode, from.Host)
		a.Put(record.AttrService, from.Service)
		a.Put("source", from.Source)
		document.Tags(&a, from.Tags)
		s.Attrs = a.Attrs
		d.key = d.key[:0]
		for _, v := range [...]string{from.Source, from.Tags, from.Host, from.Service} {
			d.key = append(append(d.key, v...), 0)
		}
		s.Key = d.key
	}
	f := lines.JSON
	if text {
		f = lines.Text
	}
	return d.lines.Decode(b, body, f, &s, tenant, now)
}
