package journald

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/wire"
)

const now = int64(1_800_000_000_000_000_000)

func binaryField(name, val string) string {
	return name + "\n" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(val)))) + val + "\n"
}

func decode(body string, last bool) (*record.Batch, int, wire.Outcome, error) {
	b := record.NewBatch(nil)
	b.AppendString("before it stands something else")
	s := b.AppendString(body)
	n, out, err := NewDecoder(wire.Limits{}, new(wire.StreamCache)).Decode(b, s, last, "t", now)
	return b, n, out, err
}

var entries = "__CURSOR=c1\n__REALTIME_TIMESTAMP=1795341600000001\n_HOSTNAME=h\n_SYSTEMD_UNIT=u.service\nSYSLOG_IDENTIFIER=id\nPRIORITY=3\nMESSAGE=a=b\nX=1\nX=2\n\n" +
	"__CURSOR=c2\n_SOURCE_REALTIME_TIMESTAMP=1795341600000003\n__REALTIME_TIMESTAMP=1795341600000004\n" + binaryField("MESSAGE", "two\nlines\x00\xff") + binaryField("BLOB", "") + "\n\n\n"

func TestDecode(t *testing.T) {
	b, n, out, err := decode(entries, true)
	if err != nil || n != len(entries) || out.Records != 2 || out.Refused != 0 {
		t.Fatal(n, out, err)
	}
	r := b.Record(0)
	if string(b.Body(0)) != "a=b" || r.Time != 1795341600000001000 || r.Severity != record.Error || b.Stream(0).Get("node") != "h" || b.Stream(0).Get("unit") != "u.service" || b.Stream(0).Get("app") != "id" {
		t.Errorf("%+v %v", r, b.Stream(0).Attrs())
	}
	if f := b.Fields(0); len(f) != 3 || string(b.Bytes(f[1].Val)) != "1" || string(b.Bytes(f[2].Val)) != "2" {
		t.Error(f)
	}
	if string(b.Body(1)) != "two\nlines\x00\xff" || b.Record(1).Time != 1795341600000003000 || b.Record(1).Observed != 1795341600000004000 {
		t.Errorf("%q %+v", b.Body(1), b.Record(1))
	}
	x, _ := b.SenderID(0)
	if y, _ := b.SenderID(1); x == y || x.IsZero() {
		t.Error("ids")
	}
}

// Wherever a piece ends: what was not whole comes with the next.
func TestPieces(t *testing.T) {
	for cut := range len(entries) {
		b, n, out, err := decode(entries[:cut], false)
		if err != nil || n > cut || b.NumRecords() != out.Records {
			t.Fatalf("cut at %d: %d, %+v, %v", cut, n, out, err)
		}
		rest, m, more, err := decode(entries[n:], true)
		if err != nil || n+m != len(entries) || out.Records+more.Records != 2 || rest.NumRecords() != more.Records {
			t.Fatalf("cut at %d: %d+%d, %+v, %v", cut, n, m, more, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, body := range []string{"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\x7fx", "MESSAGE\n\x01\x00\x00\x00\x00\x00\x00\x00xy", "lower=1\n\n", "=x\n\n"} {
		if _, _, _, err := decode(body, false); err == nil {
			t.Errorf("%q: no error", body)
		}
	}
	if _, _, _, err := decode("MESSAGE\n\x05\x00\x00\x00\x00\x00\x00\x00xy", true); !errors.Is(err, ErrCut) {
		t.Error(err)
	}
	many := ""
	for i := range 200 {
		many += fmt.Sprintf("F%d=1\n", i)
	}
	if _, _, out, err := decode(many+"\nMESSAGE=x\n\n", true); err != nil || out.Records != 2 || out.Refused != 1 {
		t.Error(out, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(entries), true)
	f.Add([]byte("MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff"), false)
	f.Fuzz(func(t *testing.T, p []byte, last bool) {
		b, n, out, err := decode(string(p), last)
		if err != nil {
			return
		}
		if n > len(p) || b.NumRecords() != out.Records-out.Refused {
			t.Fatal(n, b.NumRecords(), out)
		}
		for i := range b.NumRecords() {
			_ = b.Body(i)
			for _, f := range b.Fields(i) {
				_, _ = b.KeyName(f.Key), b.Bytes(f.Val)
			}
		}
	})
}

func BenchmarkDecode(bm *testing.B) {
	var sb strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&sb, "__CURSOR=s=aadb8cf7dadf4762a5d0dd727898fd1e;i=%d\n__REALTIME_TIMESTAMP=%d\n_HOSTNAME=node-1\n_SYSTEMD_UNIT=ssh.service\nSYSLOG_IDENTIFIER=sshd\nPRIORITY=6\n_PID=12\n_BOOT_ID=00000000000000000000000000000007\nMESSAGE=Accepted publickey for core from 10.0.0.7\n\n", i, 1795341600000001+i)
	}
	body := []byte(sb.String())
	d := NewDecoder(wire.Limits{}, new(wire.StreamCache))
	b := record.NewBatch(nil)
	bm.SetBytes(int64(len(body)))
	bm.ReportAllocs()
	for bm.Loop() {
		b.Reset(nil)
		if _, out, err := d.Decode(b, b.Append(body), true, "", now); err != nil || out.Refused > 0 {
			bm.Fatal(out, err)
		}
	}
}
