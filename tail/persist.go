package tail

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirlog/weir/ack"
	"github.com/weirlog/weir/cri"
	"github.com/weirlog/weir/record"
)

// The values in the checkpoint are JSON; docs/formats/checkpoint.md describes
// them.

type savedChain struct {
	Container Container         `json:"container"`
	Path      string            `json:"path"` // of the live file
	Gens      []savedGeneration `json:"generations,omitempty"`
	State     cri.State         `json:"state,omitzero"`
	Gaps      []*gap            `json:"gaps,omitempty"`
}

type savedGeneration struct {
	Key     record.ID `json:"key"`
	Base    record.ID `json:"base"`
	Ordinal int       `json:"ordinal,omitempty"`
	Head    int       `json:"head"`
	Name    string    `json:"name,omitempty"`
	Dev     uint64    `json:"dev"`
	Ino     uint64    `json:"ino"`
	Mtime   int64     `json:"mtime"`
	FSize   int64     `json:"file_size"`
	Gz      bool      `json:"gz,omitempty"`
	Size    int64     `json:"size"`
	Acked   int64     `json:"acked"`
	Lost    int64     `json:"lost,omitempty"`
	Origin  int64     `json:"origin,omitempty"`
	Sealed  bool      `json:"sealed,omitempty"`
	Newest  bool      `json:"newest,omitempty"`
	Told    bool      `json:"told,omitempty"`
	Linked  bool      `json:"linked,omitempty"`
	LinkGz  bool      `json:"link_gz,omitempty"`
	ProofN  int       `json:"proof_len,omitempty"`
	Proof   uint64    `json:"proof,omitempty"`
	ProofAt int64     `json:"proof_at,omitempty"`
}

type savedAccount struct {
	Container Container `json:"container"`
	Read      int64     `json:"read"`
	Lost      int64     `json:"lost"`
	LastSeen  time.Time `json:"last_seen"`
	Records   uint64    `json:"records"`
	// Outputs maps an output's name to class, or class/reason, to a count.
	Outputs map[string]map[string]uint64 `json:"outputs,omitempty"`
}

func (in *Input) key(kind, id string) string { return in.cfg.ID + "/" + kind + "/" + id }

// save writes everything that changed and syncs.
func (in *Input) save() error {
	for _, c := range in.ring {
		in.advance(c)
		in.prune(c)
	}
	in.forgetChains()
	in.foldAccounts()
	if in.putChanged() || in.unsaved || in.now.Sub(in.seenSaved) >= 10*time.Second {
		in.put1(in.key("seen", ""), in.now)
		in.seenSaved = in.now
		in.unsaved = true
		if err := in.cfg.Checkpoint.Sync(); err != nil {
			in.errors["checkpoint"]++
			return err
		}
		in.unsaved, in.flushFailed = false, false
		for _, c := range in.ring {
			for _, p := range c.gaps {
				p.saved = true
			}
		}
		in.dropLinks()
		in.reclaim()
		in.rotate()
	}
	return nil
}

// flush writes what changed without waiting for the disk. An error is left to
// the next save to report, and then nothing is flushed until that.
func (in *Input) flush() {
	if in.flushFailed {
		return
	}
	news := 0
	for _, c := range in.ring {
		in.advance(c)
		if c.dirty {
			news++
		}
	}
	if news <= flushNews && in.putChanged() {
		in.unsaved = true
		in.flushFailed = in.cfg.Checkpoint.Flush() != nil
	}
}

// putChanged hands what changed to the checkpoint.
func (in *Input) putChanged() (changed bool) {
	for _, c := range in.ring {
		if c.ordsDirty {
			in.put1(in.key("ordinal", c.id), savedOrds(c))
			c.ordsDirty = false
			changed = true
		}
		if c.dirty {
			in.put1(in.key("chain", c.id), in.saveChain(c))
			c.dirty = false
			changed = true
		}
	}
	for _, a := range in.accounts {
		if a.dirty {
			in.put1(in.key("account", a.key), in.saveAccount(a))
			a.dirty = false
			changed = true
		}
	}
	return changed
}

func (in *Input) put1(key string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("tail: " + err.Error()) // plain structs: cannot happen
	}
	in.cfg.Checkpoint.Put(key, b)
}

func (in *Input) saveChain(c *chain) *savedChain {
	s := &savedChain{Container: c.container, Path: filepath.Join(c.dir, c.base), State: c.state, Gaps: c.gaps}
	for _, g := range c.gens {
		if g.key.IsZero() {
			continue // nothing of it was read, it is found again as new
		}
		s.Gens = append(s.Gens, savedGeneration{
			Key: g.key, Base: g.base, Ordinal: g.ord, Head: g.head, Name: g.name, Dev: g.dev, Ino: g.ino,
			Mtime: g.mtime, FSize: g.fsize, Gz: g.gz, Size: g.size, Acked: g.acked, Lost: g.lost,
			Origin: g.origin, Sealed: g.sealed, Newest: g.newest, Told: g.told, Linked: g.linked, LinkGz: g.linkGz, ProofN: g.proof.n, Proof: g.proof.hash, ProofAt: g.proof.off,
		})
	}
	return s
}

func (in *Input) saveAccount(a *account) *savedAccount {
	a.lastSeen = in.now
	s := &savedAccount{Container: a.container, Read: a.acked, Lost: a.lost, LastSeen: a.lastSeen, Records: a.tally.Read}
	names := in.cfg.Book.Names()
	for i, counts := range a.tally.Outputs {
		if i >= len(names) {
			break
		}
		for st, n := range counts {
			if n == 0 {
				continue
			}
			if s.Outputs == nil {
				s.Outputs = make(map[string]map[string]uint64)
			}
			if s.Outputs[names[i]] == nil {
				s.Outputs[names[i]] = make(map[string]uint64)
			}
			s.Outputs[names[i]][statusName(ack.Status(st))] = n
		}
	}
	return s
}

func statusName(s ack.Status) string {
	if s.Reason() == "" {
		return s.Class()
	}
	return s.Class() + "/" + s.Reason()
}

// load takes up what the checkpoint knows.
func (in *Input) load() {
	cp := in.cfg.Checkpoint
	var seen time.Time
	if v, ok := cp.Get(in.key("seen", "")); ok {
		json.Unmarshal(v, &seen)
	}
	cp.Range(in.key("account", ""), func(key string, v []byte) bool {
		var s savedAccount
		if err := json.Unmarshal(v, &s); err != nil {
			in.log.Error("checkpoint value cannot be read", "key", key, "error", err)
			return true
		}
		a := &account{
			key: strings.TrimPrefix(key, in.key("account", "")), container: s.Container,
			read: s.Read, acked: s.Read, lost: s.Lost, written: s.Read + s.Lost, lastSeen: s.LastSeen,
		}
		a.tally.Read = s.Records
		for name, counts := range s.Outputs {
			i := in.cfg.Book.Index(name)
			for len(a.tally.Outputs) <= i {
				a.tally.Outputs = append(a.tally.Outputs, [ack.NumStatus]uint64{})
			}
			for k, n := range counts {
				class, reason, _ := strings.Cut(k, "/")
				if st, ok := ack.ParseStatus(class, reason); ok {
					a.tally.Outputs[i][st] = n
				}
			}
		}
		in.accounts[a.key] = a
		return true
	})
	cp.Range(in.key("chain", ""), func(key string, v []byte) bool {
		in.known = true
		var s savedChain
		if err := json.Unmarshal(v, &s); err != nil {
			in.log.Error("checkpoint value cannot be read", "key", key, "error", err)
			return true
		}
		c := in.newChain(chainID(s.Container), s.Container)
		c.lastSeen = seen
		c.state, c.gaps = s.State, s.Gaps
		for _, p := range c.gaps {
			p.saved = true
		}
		for _, p := range s.Gens {
			g := newGeneration()
			g.key, g.base, g.ord, g.head = p.Key, p.Base, p.Ordinal, p.Head
			g.name, g.dev, g.ino, g.mtime, g.fsize, g.gz = p.Name, p.Dev, p.Ino, p.Mtime, p.FSize, p.Gz
			g.size, g.acked, g.lost, g.origin, g.sealed = p.Size, p.Acked, p.Lost, p.Origin, p.Sealed
			g.proof = anchor{p.ProofAt, p.ProofN, p.Proof}
			g.pos, g.read, g.until = g.acked, g.acked, g.acked
			g.grown = seen
			g.restored, g.newest, g.told = true, p.Newest, p.Told
			if g.sealed && g.acked < g.size-g.lost {
				g.sealed = false
			}
			c.account.written += g.size - g.lost - g.read
			c.gens = append(c.gens, g)
		}
		if n := len(c.gens); n > 0 {
			c.unresolved, c.gens[n-1].newest = true, !c.gens[n-1].told
		}
		c.rewind()
		c.joiner.Restore(c.state)
		in.attach(c, s.Path)
		c.supersede(in.now)
		c.dirty = false
		return true
	})
	cp.Range(in.key("ordinal", ""), func(key string, v []byte) bool {
		id := strings.TrimPrefix(key, in.key("ordinal", ""))
		var m map[string]int
		if json.Unmarshal(v, &m) != nil {
			return true
		}
		ords := make(map[record.ID]int, len(m))
		for k, n := range m {
			if id, ok := record.ParseID(k); ok {
				ords[id] = n
			}
		}
		if c := in.chains[id]; c != nil {
			c.ords = ords
		} else {
			in.ords[id] = ords
		}
		return true
	})
}

// rewind sets the generations back to the beginning of the oldest message that
// is open, from where they are read again.
func (c *chain) rewind() {
	first, start := len(c.gens), int64(0)
	for _, p := range c.state.Open {
		if !p.Open {
			continue
		}
		i := slices.IndexFunc(c.gens, func(g *generation) bool { return g.key == p.Generation })
		if i >= 0 && (i < first || i == first && p.Start < start) {
			first, start = i, p.Start
		}
	}
	for i := first; i < len(c.gens); i++ {
		g := c.gens[i]
		g.pos = min(g.origin, g.acked)
		if i == first {
			g.pos = start
		}
		if g.pos < g.acked {
			g.sealed, g.eof = false, false
		}
	}
}

// maxOrds bounds the remembered heads of one chain.
const maxOrds = 256

func savedOrds(c *chain) map[string]int {
	m := make(map[string]int, len(c.ords))
	if len(c.ords) > maxOrds {
		// Keep what is in use; the rest would only matter if a file with one
		// of these very heads came back.
		for k := range c.ords {
			if !slices.ContainsFunc(c.gens, func(g *generation) bool { return g.base == k }) {
				delete(c.ords, k)
			}
			if len(c.ords) <= maxOrds/2 {
				break
			}
		}
	}
	for k, n := range c.ords {
		m[k.String()] = n
	}
	return m
}
