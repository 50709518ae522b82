package json

import (
	"strings"
	"testing"
)

func TestKnownTableIsExact(t *testing.T) {
	if len(knownNames) > 64 {
		t.Fatalf("%d names, a bit set holds 64", len(knownNames))
	}
	slots := map[uint64]string{}
	for bit, name := range knownNames {
		if len(name) > 16 {
			t.Errorf("%q: keyWords tell names of up to 16 bytes apart", name)
		}
		slot := slotOf(wordsOf([]byte(name)).hash())
		if other, taken := slots[slot]; taken {
			t.Errorf("%q and %q share a slot: pick another hashMul", name, other)
		}
		slots[slot] = name
		got, ok := Known([]byte(name))
		if !ok || int(got) != bit || KnownName(got) != name {
			t.Errorf("Known(%q) = %d, %v", name, got, ok)
		}
		for _, near := range []string{name + "x", name[1:], "x" + name, strings.ToUpper(name), name + "\x00", name + name} {
			bit, ok := Known([]byte(near))
			if isKnown := near != "" && KnownName(bit) == near; ok != isKnown {
				t.Errorf("Known(%q) = %d, %v", near, bit, ok)
			}
		}
	}
	if _, ok := Known(nil); ok {
		t.Error("the empty name is known")
	}
}

func TestKnownMask(t *testing.T) {
	mask, all := KnownMask("level", "message")
	l, _ := Known([]byte("level"))
	m, _ := Known([]byte("message"))
	if !all || mask != 1<<l|1<<m {
		t.Errorf("KnownMask = %b, %v", mask, all)
	}
	if mask2, all := KnownMask("level", "message", "my_field"); all || mask2 != mask {
		t.Errorf("KnownMask with an unknown name = %b, %v", mask2, all)
	}
	if KnownName(NoBit) != "" || KnownName(255) != "" {
		t.Error("KnownName of no name")
	}
}

// The encoders must learn from KnownKeys about every name they write.
func TestKnownHasWhatEncodersWrite(t *testing.T) {
	names := strings.Fields(`@timestamp _time time timestamp message msg _msg log body level stream kubernetes
		cluster node namespace pod pod_uid container workload app service_name service input tags host labels
		trace_id span_id trace span weir data_stream log_record_uid ecs orchestrator image file`)
	for _, n := range names {
		if _, ok := Known([]byte(n)); !ok {
			t.Errorf("%q is not known", n)
		}
	}
}
