package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weirlog/weir/record"
)

// Limiter says how much a tenant may push. Safe for concurrent use.
type Limiter interface {
	// Allow counts what a tenant pushes. If that is too much it counts nothing and
	// says when there will be room. Asked with no bytes and no records it says
	// whether there is room for any.
	Allow(tenant string, bytes, records int, now time.Time) (retryAfter time.Duration, ok bool)
	// AllowStreams counts the streams of a batch. If there would be too many it
	// counts none of them.
	AllowStreams(tenant string, b *record.Batch, now time.Time) (retryAfter time.Duration, ok bool)
	// Return takes back what Allow counted: it was not taken after all.
	Return(tenant string, bytes, records int, now time.Time)
}

// Quota is how much a tenant may push. Zero means any amount.
type Quota struct {
	// Bytes of bodies, uncompressed, and Records a second in the long run; bursts
	// are how much more may come at once, by default what comes in ten seconds.
	// The request with which a burst ends is taken whole.
	Bytes, BytesBurst     int64
	Records, RecordsBurst int64
	// Day is how many bytes may come in a day of UTC.
	Day int64
	// Streams is how many different ones there may be within half an hour to
	// an hour.
	Streams int
}

// Quotas are those of all tenants. It is a Limiter; make it with NewQuotas.
type Quotas struct {
	mu      sync.Mutex
	all     Quota
	own     map[string]Quota
	tenants map[string]*usage
}

// Why a tenant is refused.
const (
	overBytes = iota
	overRecords
	overDay
	overStreams
	numReasons
)

var overNames = [numReasons]string{"bytes", "records", "day", "streams"}

// usage is what a tenant has used.
type usage struct {
	bytes, records         float64 // that may come at once; below zero: a debt
	at                     time.Time
	day                    int64 // since 1970
	today                  int64
	streams, before        map[uint64]struct{} // this half hour, and the one before
	half                   int64
	taken, takenRecords    int64
	refused                [numReasons]int64
	refusedBytes, refusedN int64
}

// maxTenants is how many tenants are told apart that no configuration names, so
// that nobody makes memory and metrics grow by inventing some. What comes for more
// of them counts for one, Other.
const maxTenants = 1000

// Other is the tenant in QuotaStats that stands for all that are not told apart.
const Other = "(other)"

// NewQuotas returns Quotas: own ones for the named tenants, all for the others.
func NewQuotas(all Quota, own map[string]Quota) *Quotas {
	q := &Quotas{tenants: make(map[string]*usage)}
	q.Set(all, own)
	return q
}

// Set changes how much tenants may push. What they have used stays.
func (q *Quotas) Set(all Quota, own map[string]Quota) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all, q.own = all.withDefaults(), make(map[string]Quota)
	for name, l := range own {
		q.own[name] = l.withDefaults()
	}
}

func (l Quota) withDefaults() Quota {
	const seconds = 10
	def(&l.BytesBurst, seconds*l.Bytes)
	def(&l.RecordsBurst, seconds*l.Records)
	return l
}

// of returns the tenant's usage, as of now.
func (q *Quotas) of(tenant string, now time.Time) (*usage, *Quota) {
	l, named := q.own[tenant]
	if !named {
		l = q.all
	}
	u := q.tenants[tenant]
	if u == nil {
		if !named && len(q.tenants) >= maxTenants+len(q.own) {
			tenant = Other
			u = q.tenants[tenant]
		}
		if u == nil {
			u = &usage{bytes: float64(l.BytesBurst), records: float64(l.RecordsBurst), at: now}
			q.tenants[tenant] = u
		}
	}
	if d := now.Sub(u.at).Seconds(); d > 0 {
		u.at = now
		u.bytes = min(float64(l.BytesBurst), u.bytes+d*float64(l.Bytes))
		u.records = min(float64(l.RecordsBurst), u.records+d*float64(l.Records))
	}
	// Only forward: a clock that was set back gives no second day.
	if day := dayOf(now); day > u.day {
		u.day, u.today = day, 0
	}
	return u, &l
}

func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// Allow implements Limiter.
func (q *Quotas) Allow(tenant string, bytes, records int, now time.Time) (retryAfter time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u, l := q.of(tenant, now)
	over := -1
	refuse := func(why int, wait float64) {
		if d := time.Duration(wait * float64(time.Second)); over < 0 || d > retryAfter {
			over, retryAfter = why, d
		}
	}
	if l.Bytes > 0 && u.bytes <= 0 {
		refuse(overBytes, (1-u.bytes)/float64(l.Bytes))
	}
	if l.Records > 0 && u.records <= 0 {
		refuse(overRecords, (1-u.records)/float64(l.Records))
	}
	if l.Day > 0 && u.today >= l.Day {
		refuse(overDay, float64((dayOf(now)+1)*24*60*60-now.Unix()))
	}
	if over >= 0 {
		u.refused[over]++
		u.refusedBytes += int64(bytes)
		u.refusedN += int64(records)
		return retryAfter, false
	}
	u.bytes -= float64(bytes)
	u.records -= float64(records)
	u.today += int64(bytes)
	u.taken += int64(bytes)
	u.takenRecords += int64(records)
	return 0, true
}

// Return implements Limiter.
func (q *Quotas) Return(tenant string, bytes, records int, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u, l := q.of(tenant, now)
	u.bytes = min(float64(l.BytesBurst), u.bytes+float64(bytes))
	u.records = min(float64(l.RecordsBurst), u.records+float64(records))
	u.today = max(0, u.today-int64(bytes))
	u.taken -= int64(bytes)
	u.takenRecords -= int64(records)
}

// AllowStreams implements Limiter.
func (q *Quotas) AllowStreams(tenant string, b *record.Batch, now time.Time) (retryAfter time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u, l := q.of(tenant, now)
	if l.Streams <= 0 {
		return 0, true
	}
	const seconds = 30 * 60
	if half := now.Unix() / seconds; half > u.half {
		u.before = u.streams
		if half > u.half+1 {
			u.before = nil
		}
		u.half, u.streams = half, nil
	}
	if u.streams == nil {
		u.streams = make(map[uint64]struct{})
	}
	known := func(h uint64) bool {
		if _, ok := u.streams[h]; ok {
			return true
		}
		_, ok := u.before[h]
		return ok
	}
	fresh := make(map[uint64]struct{})
	for _, s := range b.Streams() {
		if h := s.Stream.Hash(); !known(h) {
			fresh[h] = struct{}{}
		}
	}
	// Those of before that came again are in both; it is only a bound.
	if len(fresh) > 0 && max(len(u.streams), len(u.before))+len(fresh) > l.Streams {
		u.refused[overStreams]++
		return time.Duration(seconds-now.Unix()%seconds) * time.Second, false
	}
	for _, s := range b.Streams() {
		u.streams[s.Stream.Hash()] = struct{}{}
	}
	return 0, true
}

// QuotaStats are what a tenant has pushed.
type QuotaStats struct {
	Tenant string
	// Bytes and Records that were taken; Today are the bytes of this day.
	Bytes, Records, Today int64
	// Refused are requests by the limit that was reached: bytes, records, day,
	// streams.
	Refused map[string]int64
}

// Stats returns the numbers of now, sorted by tenant.
func (q *Quotas) Stats(now time.Time) []QuotaStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]QuotaStats, 0, len(q.tenants))
	for _, name := range slices.Sorted(maps.Keys(q.tenants)) {
		u := q.tenants[name]
		s := QuotaStats{Tenant: name, Bytes: u.taken, Records: u.takenRecords, Refused: make(map[string]int64)}
		if u.day == dayOf(now) {
			s.Today = u.today
		}
		for i, n := range u.refused {
			if n > 0 {
				s.Refused[overNames[i]] = n
			}
		}
		out = append(out, s)
	}
	return out
}

// daysUsed is what is kept over a restart: how much of the day is used.
type daysUsed struct {
	Day   int64            `json:"day"` // since 1970
	Bytes map[string]int64 `json:"bytes"`
}

// Marshal returns what Restore reads: what tenants have used of their day.
func (q *Quotas) Marshal(now time.Time) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := daysUsed{dayOf(now), make(map[string]int64)}
	for name, u := range q.tenants {
		if u.day == d.Day && u.today > 0 {
			d.Bytes[name] = u.today
		}
	}
	p, err := json.Marshal(d)
	if err != nil {
		panic("gateway: marshal quotas: " + err.Error()) // no type in it can fail
	}
	return p
}

// Restore adds what was used before a restart, if it was today.
func (q *Quotas) Restore(p []byte, now time.Time) error {
	var d daysUsed
	if err := json.Unmarshal(p, &d); err != nil {
		return fmt.Errorf("what tenants have used today cannot be read: %w", err)
	}
	if d.Day != dayOf(now) {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, n := range d.Bytes {
		if n <= 0 || name != "" && name != Other && CheckTenant(name) != nil {
			continue
		}
		u, _ := q.of(name, now)
		u.today += n
	}
	return nil
}
