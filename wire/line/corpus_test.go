package line

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weirlog/weir/record"
)

var update = flag.Bool("update", false, "write the golden files")

// corpus are lines as libraries and servers write them, and rubbish.
func corpus(t testing.TB) (out [][]byte) {
	t.Helper()
	data, err := os.ReadFile("testdata/corpus.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for l := range bytes.Lines(data) {
		var s string
		if err := json.Unmarshal(l, &s); err != nil {
			t.Fatal(err)
		}
		out = append(out, []byte(s))
	}
	return out
}

var noon = time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC).UnixNano()

func cartName(name string) string {
	return map[string]string{record.AttrNamespace: "shop", record.AttrPod: "cart-7d9c5b6f4-x2x9z", record.AttrContainer: "cart"}[name]
}

func paintAll(p *Painter, lines [][]byte) []byte {
	var out []byte
	it := Item{Time: noon, Who: p.Who(cartName, "")}
	for _, l := range lines {
		it.Body = l
		out = p.Append(out, &it)
	}
	return out
}

// TestGolden shows the corpus in all ways; the files are to be looked at (cat).
func TestGolden(t *testing.T) {
	for name, s := range map[string]Style{
		"plain":  {},
		"color":  {Color: true},
		"narrow": {Times: "short", Narrow: true},
		"fields": {Times: "clock", OneNamespace: true, Fields: []string{"err", "req.method", "caller", "missing", "level", "stack_trace"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.Zone = time.UTC
			got := string(paintAll(NewPainter(s), corpus(t)))
			if s.Color {
				got = strings.ReplaceAll(got, "\x1b", "␛")
			}
			file := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got == string(want) {
				return
			}
			g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
			for i := range min(len(g), len(w)) {
				if g[i] != w[i] {
					t.Fatalf("row %d\n got %s\nwant %s", i+1, g[i], w[i])
				}
			}
			t.Fatalf("%d rows, want %d", len(g), len(w))
		})
	}
}
