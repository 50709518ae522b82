package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/weirlog/weir/e2e/internal/account"
	"github.com/weirlog/weir/e2e/internal/fakenode"
	"github.com/weirlog/weir/e2e/internal/journal"
)

// fakeNode is a fake node in this process, for stories that need to say when
// what happens.
func fakeNode(t *testing.T, n node, cfg fakenode.Config) (*fakenode.Node, *journal.Writer) {
	t.Helper()
	w, err := journal.Create(n.journal)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Root, cfg.Journal = n.root, w
	f, err := fakenode.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f, w
}

// Failure 4: the agent is away for longer than the rotator keeps files. Of
// every generation that it has ever seen the ledger's loss is exact; of those
// it never saw there is a gap record that says "unknown".
func TestFailure04_GapBeyondRetention(t *testing.T) {
	n := newNodeDir(t)
	f, w := fakeNode(t, n, fakenode.Config{Seed: 5, Pods: 2})
	write := func(lines int) {
		t.Helper()
		for range lines {
			if err := f.Write(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	d := startSink(t, "esstub")
	a := startAgent(t, n, toElasticsearch(n, d, ""))
	write(3000)
	delivered(t, d, a, n.journal, w.Totals().Lines)
	eventually(t, "the agent knows that all has arrived", func() bool {
		m := a.metrics()
		return m["weir_waiting_records"] == 0 && m["weir_delivered_records_total"] == float64(w.Totals().Lines)
	}, func() string { _, text := balanced(a.metrics()); return text })
	d.faults(`{"down":true}`)
	write(2000)
	eventually(t, "the agent has seen all that is written", func() bool {
		return a.metrics()["weir_input_written_bytes_total"] == float64(f.Bytes())
	}, func() string {
		_, text := balanced(a.metrics())
		return fmt.Sprintf("%s; the node wrote %d", text, f.Bytes())
	})
	a.signal(15)
	before := d.state().Account.Distinct
	for range 7 {
		if err := f.RotateAll(); err != nil {
			t.Fatal(err)
		}
		write(300)
	}
	d.faults(`{"down":false}`)
	a.start()
	write(200)
	eventually(t, "all that can be read arrives", func() bool {
		m, s := a.metrics(), d.state().Account
		return s.Distinct > before && m["weir_waiting_records"] == 0 && m["weir_input_unread_bytes_total"] == 0 &&
			onlyGone(d.verdict(n.journal).Lost, 2*4) // per pod: the generation it knew and three it never saw
	}, func() string {
		_, text := balanced(a.metrics())
		return fmt.Sprintf("%s\nlost %+v", text, d.verdict(n.journal).Lost)
	})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	v := d.verdict(n.journal)
	var seen, unseen uint64
	for _, l := range v.Lost {
		t.Logf("lost: %+v", l)
		if !l.Gone {
			t.Errorf("missing although the file is there: %+v", l)
		}
		if l.Gen == 0 {
			seen += l.Bytes
		} else {
			unseen += l.Bytes
		}
	}
	if seen == 0 || unseen == 0 {
		t.Fatalf("the story lost nothing: seen %d, never seen %d", seen, unseen)
	}
	if v.Total.Extra+v.Total.Different+v.Total.Doubled != 0 {
		t.Errorf("%+v", v.Total)
	}
	m := a.metrics()
	ok, text := balanced(m)
	if !ok {
		t.Errorf("the ledger does not balance: %s", text)
	}
	if lost := m["weir_input_lost_bytes_total"]; lost != float64(seen) {
		t.Errorf("the ledger says %.0f bytes are lost, the verifier %d", lost, seen)
	}
	gaps := func() (all, unknown int) {
		for _, doc := range d.state().Foreign {
			all++
			if bytes.Contains(doc, []byte("unknown")) {
				unknown++
			}
		}
		return all, unknown
	}
	eventually(t, "gap records arrive, for what is known to be lost and for what is unknown", func() bool {
		all, unknown := gaps()
		return unknown > 0 && all > unknown
	}, func() string { return fmt.Sprintf("documents without a mark: %s", d.state().Foreign) })
	for _, doc := range d.state().Foreign {
		t.Logf("gap record: %s", doc)
	}
	d.strict()
	a.term()
}

// onlyGone reports whether all that is missing stood in files that are gone, at most
// that many: the last line of one that is there may wait a moment for another.
func onlyGone(lost []account.Loss, most int) bool {
	return len(lost) <= most && !slices.ContainsFunc(lost, func(l account.Loss) bool { return !l.Gone })
}
