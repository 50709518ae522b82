package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/clickhouse"
)

// ClickHouseConfig configures NewClickHouse.
type ClickHouseConfig struct {
	HTTPConfig      // URL of the HTTP interface; Compression: gzip (default), zstd, none
	Database, Table string
	Columns         []clickhouse.Column // none: those of otel_logs
	// Deduplicate sends a token made of the records' ids with every insert.
	Deduplicate bool
	// AsyncInsert lets the server collect inserts; they are waited for.
	AsyncInsert bool
	// Settings of ClickHouse. An empty value takes away one that would be sent
	// otherwise, for servers that do not know it.
	Settings map[string]string
}

// ClickHouse inserts records into a table, one INSERT per Send, as JSONEachRow
// over HTTP. An insert into one partition is atomic. With Deduplicate the same
// records inserted again are not stored again, if the table remembers inserts:
// Replicated tables do (replicated_deduplication_window), others with the
// setting non_replicated_deduplication_window.
//
// ClickHouse refuses an insert as a whole. An error of parsing is the records'
// fault, and bisecting finds which; what the table, the server or the user's
// rights are to blame for is tried again.
// https://clickhouse.com/docs/interfaces/http
type ClickHouse struct {
	*client
	enc    *encoders
	zip    *compressors
	url    *url.URL
	args   url.Values
	check  *url.URL
	header http.Header
	dedup  bool
}

// NewClickHouse returns an output to one server or load balancer.
func NewClickHouse(c ClickHouseConfig) (*ClickHouse, error) {
	conf, u, err := c.HTTPConfig.checked("http", "https")
	if err != nil {
		return nil, err
	}
	if c.Table == "" {
		return nil, errors.New("output: clickhouse: table is missing")
	}
	method, err := conf.compression(compressGzip, compressZstd, compressNone)
	if err != nil {
		return nil, err
	}
	zip, err := newCompressors(method, conf.CompressionLevel)
	if err != nil {
		return nil, err
	}
	enc, err := clickhouse.New(c.Columns)
	if err != nil {
		return nil, fmt.Errorf("output: clickhouse: %w", err)
	}
	cl, err := newClient(conf, u)
	if err != nil {
		return nil, err
	}
	args := u.Query()
	probe := *u
	for k, v := range c.Settings {
		args.Set(k, v)
	}
	set := func(name, value string) {
		if _, given := c.Settings[name]; !given && !args.Has(name) {
			args.Set(name, value)
		}
	}
	args.Set("query", enc.Query(c.Database, c.Table))
	set("date_time_input_format", "best_effort")
	// All of an insert is parsed before any of it is stored, and the answer says
	// how it ended.
	set("input_format_parallel_parsing", "0")
	set("wait_end_of_query", "1")
	if c.AsyncInsert {
		args.Set("async_insert", "1")
		args.Set("wait_for_async_insert", "1")
	}
	for k, v := range c.Settings {
		if v == "" {
			args.Del(k) // not one of ours either
		}
	}
	// Selecting nothing shows whether table, columns and rights are there.
	query := "SELECT "
	for i, n := range enc.Names() {
		if i > 0 {
			query += ", "
		}
		query += clickhouse.Quote(n)
	}
	query += " FROM "
	if c.Database != "" {
		query += clickhouse.Quote(c.Database) + "."
	}
	pargs := u.Query()
	pargs.Set("query", query+clickhouse.Quote(c.Table)+" LIMIT 0")
	probe.RawQuery = pargs.Encode()
	return &ClickHouse{
		client: cl, zip: zip, url: u, args: args, check: &probe, dedup: c.Deduplicate,
		header: conf.headerFor("application/x-ndjson"),
		enc:    newEncoders(enc, func() encoder { return enc.Clone() }),
	}, nil
}

// Send inserts the records of parts.
func (o *ClickHouse) Send(ctx context.Context, parts []record.Part) (ack.Result, error) {
	w := getWork()
	defer w.put()
	u := *o.url
	u.RawQuery = o.args.Encode()
	if o.dedup {
		token := contentHash(parts)
		u.RawQuery += "&insert_deduplication_token=" + string(wire.AppendID(nil, token))
	}
	a, size, err := o.exchange(ctx, w, o.zip, o.enc, parts, request{url: &u, header: o.header, limit: maxAnswer})
	if err != nil {
		return ack.Result{}, err
	}
	if e := o.judge(a); e != nil {
		return ack.Result{}, e
	}
	if len(bytes.TrimSpace(a.body)) > 0 { // an INSERT has no result: somebody else answers
		return ack.Result{}, o.refused(a, "")
	}
	return ack.Result{Bytes: size}, nil
}

// judge returns the error that an answer is, nil for success.
func (o *ClickHouse) judge(a answer) error {
	x, bad := clickhouse.ParseException(a.body)
	if n, err := strconv.Atoi(a.header.Get("X-ClickHouse-Exception-Code")); err == nil && n > 0 {
		x.Code, bad = n, true
	}
	if !bad {
		if a.status == http.StatusOK && !isPage(a.body) {
			return nil
		}
		return o.refused(a, "")
	}
	what := fmt.Sprintf("code %d %s", x.Code, x.Name)
	status := a.status
	if status/100 == 2 {
		status = http.StatusInternalServerError // the insert began well
	}
	e := o.refused(answer{status: status, header: a.header}, what)
	e.Code = x.Code
	var todo string
	e.Kind, todo = clickHouseKind(x.Code)
	if a.status == http.StatusRequestEntityTooLarge {
		e.Kind = ack.TooLarge
	}
	if todo != "" {
		todo = "; " + todo
	}
	e.Err = fmt.Errorf("POST %s: %d %s%s", o.shown, a.status, what, todo)
	if e.Kind == ack.Unauthorized {
		o.files.look()
	}
	return e
}

// clickHouseKind says what an error code means.
// https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
func clickHouseKind(code int) (kind ack.ErrorKind, todo string) {
	switch code {
	case 6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 407, 467, 469, 675:
		// CANNOT_PARSE_…, TYPE_MISMATCH, ARGUMENT_OUT_OF_BOUND, INCORRECT_DATA,
		// CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN, VIOLATED_CONSTRAINT …
		return ack.Rejected, ""
	case 516, 192, 193, 194, 291, 497, 731:
		return ack.Unauthorized, "the user or password is wrong, or has no right to INSERT: check auth"
	case 60, 81:
		return ack.Retry, "create the table (docs/delivery.md), or check database and table"
	case 8, 16, 47:
		return ack.Retry, "the table has other columns: check columns"
	case 115:
		return ack.Retry, "the server does not know a setting: with an old one deduplicate: false, else check settings"
	case 252:
		return ack.Retry, "inserts are too small or too many: make batch.bytes and batch.wait larger"
	}
	return ack.Retry, ""
}

// Probe asks for the table's columns.
func (o *ClickHouse) Probe(ctx context.Context) error {
	w := getWork()
	defer w.put()
	a, err := o.post(ctx, w, &request{url: o.check, header: o.header, limit: maxAnswer})
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if err := o.judge(a); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}
