// Package client lets a Go program log to weir, or to anything that takes OTLP
// over HTTP, with one import and nothing but the standard library behind it:
//
//	c, err := client.New(client.Config{
//		Endpoints: []string{"https://weir-gateway.logging:7410"},
//		Spool:     client.Spool{Dir: "/var/lib/cart/logs"},
//	})
//	if err != nil { … }
//	defer c.Close(context.Background())
//	slog.SetDefault(slog.New(c.Handler()))
//
// # What becomes of a record
//
// [slog] calls the handler, which encodes the record where it stands, without an
// allocation if none is in its values, and puts it into memory. Config.BatchWait
// or Config.BatchBytes later it is sent, in a gzip-compressed request of OTLP, to
// one of the endpoints. It is done with when a gateway has answered that it is
// durable there. Until then it is tried again, at other endpoints first, for as
// long as it takes.
//
// Each record carries a random 128-bit id (the attribute log.record.uid) that is
// the same in every attempt and after a restart: where a receiver compares ids,
// as Elasticsearch behind a weir does, nothing is doubled by a retry.
//
// # What is not lost, and what is
//
// With a spool, records are written to its files [Spool.Wait] after they were
// logged at the latest, and from there sent. What is in the files survives the
// death of the program, by kill -9 as well; with [Spool.Sync], that of the
// machine. What was there and not acknowledged is sent by the next process that
// is given the directory.
//
// Without a spool, what no gateway took before [Client.Close] gave up is lost.
//
// Memory and spool are bounded. When both are full the program goes on and the
// newest records are dropped (or, with [Config.WhenFull], it waits). They are
// counted in [Stats], and when there is room again a record in the log says how
// many are missing, and from when to when.
//
// What a gateway refuses for good is counted as rejected and told to
// [Config.Logger]; nothing else is given up.
//
// # Panics and os.Exit
//
// A deferred [Client.Close] sends what is left; [Client.LogPanic] also logs the
// panic. os.Exit and log.Fatal run nothing that is deferred: use [Client.Fatal].
package client
