package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The rig proves itself without weir: a naive shipper that reads all files
// after the fact and posts them gets a clean verdict, and one that leaves out,
// alters or doubles a single line does not.
func TestRigWithoutWeir(t *testing.T) {
	n := newNodeDir(t)
	g := startGenerator(t, n, "-rate", "3", "-for", "700ms", "-long", "0", "-max-size", "300000", "-max-files", "1000", "-tick", "50ms", "-broken", "0")
	lines := g.finish(false)
	if lines < 100 {
		t.Fatalf("only %d lines", lines)
	}
	var all [][]byte
	files, _ := filepath.Glob(filepath.Join(n.root, "*", "*", "*"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(f) == ".gz" {
			b = gunzip(t, b)
		}
		for line := range bytes.Lines(b) {
			all = append(all, bytes.TrimSuffix(line, []byte("\n")))
		}
	}
	if uint64(len(all)) != lines {
		t.Fatalf("%d lines on disk, %d written", len(all), lines)
	}
	ship := func(d *destination, lines [][]byte) {
		for chunk := range slices.Chunk(lines, 500) {
			var body bytes.Buffer
			for _, l := range chunk {
				text := l[bytes.IndexByte(l, ' ')+len(" stdout F "):]
				doc, err := json.Marshal(string(text))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&body, "{\"create\":{\"_index\":\"a\"}}\n{\"log\":%s}\n", doc)
			}
			resp, err := http.Post(d.URL+"/_bulk", "application/x-ndjson", &body)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
	}
	altered := slices.Clone(all)
	altered[7] = bytes.Clone(altered[7])
	p := bytes.Index(altered[7], []byte("p=")) + 5
	if q := bytes.Index(altered[7], []byte(`"p":"`)); q >= 0 {
		p = q + 8
	}
	altered[7][p] ^= 1
	for name, c := range map[string]struct {
		lines [][]byte
		want  [4]uint64 // missing, extra, different, doubled
	}{
		"all":     {all, [4]uint64{}},
		"missing": {slices.Concat(all[:7], all[8:]), [4]uint64{1, 0, 0, 0}},
		"altered": {altered, [4]uint64{0, 0, 1, 0}},
		"doubled": {append(slices.Clone(all), all[7]), [4]uint64{0, 0, 0, 1}},
	} {
		d := startSink(t, "esstub", "-journal", filepath.Join(n.dir, "arrivals-"+name))
		ship(d, c.lines)
		v := d.verdict(n.journal)
		if got := [4]uint64{v.Total.Missing, v.Total.Extra, v.Total.Different, v.Total.Doubled}; got != c.want || !v.Complete {
			t.Errorf("%s: %+v", name, v.Total)
		}
		d.strict()
		if code := d.signal(15); code != 0 {
			t.Errorf("esstub ended with %d", code)
		}
		_, errOut, code := run(t, binary(t, "github.com/weirlog/weir/e2e/esstub"), "verify", "-log", n.journal, "-arrivals", filepath.Join(n.dir, "arrivals-"+name))
		if (code == 0) != (c.want == [4]uint64{}) {
			t.Errorf("%s: verify ended with %d: %s", name, code, errOut)
		}
	}
}
