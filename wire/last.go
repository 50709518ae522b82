package wire

import "github.com/weirlog/weir/record"

// Last finds the field that stands where a record has several of one name: the
// last, as for record.Batch.FindField. It takes time linear in the number of
// fields. The zero Last is ready; it is for one goroutine.
type Last struct {
	// at[k] is base plus the position of the last field with key k in the
	// record at hand; smaller values are left from earlier records.
	at   []uint64
	base uint64
	n    uint64
}

// Load looks at the fields of a record; what follows is about them.
func (l *Last) Load(fields []record.Field) {
	l.base += l.n + 1
	l.n = uint64(len(fields))
	for j, f := range fields {
		for int(f.Key) >= len(l.at) {
			l.at = append(l.at, 0)
		}
		l.at[f.Key] = l.base + uint64(j)
	}
}

// Is reports whether the field at position j, which has the key, stands.
func (l *Last) Is(key uint16, j int) bool { return l.at[key] == l.base+uint64(j) }

// Find returns the position of the field with the key that stands, -1 if there
// is none.
func (l *Last) Find(key uint16) int {
	if int(key) >= len(l.at) || l.at[key] < l.base {
		return -1
	}
	return int(l.at[key] - l.base)
}

// Drop says that no field with the key is to stand.
func (l *Last) Drop(key uint16) { l.at[key] = 0 }
