package demo

import (
	"fmt"
	"time"
)

// part returns the moment at which that part of the past is over.
func (k *Cluster) part(f float64) time.Time {
	return k.cfg.Start.Add(time.Duration(f * float64(k.cfg.Now.Sub(k.cfg.Start))))
}

// The stories' places in the past.
const (
	outageFrom, outageTo = 0.25, 0.30
	slowFrom, slowTo     = 0.45, 0.50
	deployAt             = 0.65
)

// again says that t is in the first minutes of a period that began with the
// live part.
func (k *Cluster) again(t time.Time, first, period, length time.Duration) bool {
	d := t.Sub(k.cfg.Now) - first
	return d >= 0 && d%period < length
}

// outage reports whether the payment provider is away.
func (k *Cluster) outage(t time.Time) bool {
	return !t.Before(k.part(outageFrom)) && t.Before(k.part(outageTo)) || k.again(t, 10*time.Minute, time.Hour, 3*time.Minute)
}

// slow reports whether the database lacks an index.
func (k *Cluster) slow(t time.Time) bool {
	return !t.Before(k.part(slowFrom)) && t.Before(k.part(slowTo)) || k.again(t, 30*time.Minute, time.Hour, 3*time.Minute)
}

// plot arranges what happens.
func (k *Cluster) plot() {
	story := func(n int, s Story) {
		if n != len(k.stories)+1 {
			panic("demo: stories are out of order")
		}
		k.stories = append(k.stories, s)
	}
	story(storyOutage, Story{
		Name: "outage", What: "the payment provider is away: retries, stack traces, 503",
		From: k.part(outageFrom), To: k.part(outageTo), Query: `{namespace="payments"} |= "acquirer timed out"`,
	})
	story(storySlow, Story{
		Name: "slow query", What: "postgres lacks an index: slow pages, tracebacks, 504",
		From: k.part(slowFrom), To: k.part(slowTo), Query: `{pod="postgres-0"} |= "duration:"`,
	})
	story(storyDeploy, Story{
		Name: "bad deploy", What: "orders 1.9.0 cannot read a setting: coupons make it fail",
		From: k.part(deployAt), Query: `{workload="deployment/orders"} |= "DISCOUNT_RATE"`,
	})
	story(storyMemory, Story{
		Name: "out of memory", What: "recommender runs out of memory, now and then",
		From: k.cfg.Start, Query: `{workload="deployment/recommender"} |= "heap out of memory"`,
	})
	k.at(k.part(deployAt), k.deploy)
	// Three times in the past, and then every 20 minutes.
	life := max(time.Minute, k.cfg.Now.Sub(k.cfg.Start)*3/10)
	if k.cfg.Now.Equal(k.cfg.Start) {
		life = 5 * time.Minute
	}
	k.leak(min(life, 35*time.Minute), 120)
}

// deploy replaces the pods of orders one after the other.
func (k *Cluster) deploy() {
	s := &k.shop
	old := s.orders
	set := "orders-" + k.hash(10)
	s.orders = []*Pod{old[len(old)-1]} // serves until its turn has come
	for i, p := range old {
		k.after(time.Duration(i)*4*time.Second, func() {
			fresh := k.pod("shop", set+"-"+k.hash(5), "deployment/orders", "orders")
			s.orders = append(s.orders, fresh)
			k.startOrders(fresh, badVersion)
			k.after(2*time.Second, func() {
				k.order(p, "INFO", "shutting down", noStory, `"signal":"terminated"`)
			})
			k.after(30*time.Second, func() { k.remove(p) })
		})
	}
	k.after(time.Duration(len(old))*4*time.Second, func() { s.orders = s.orders[1:] })
}

// leak lets recommender's heap grow over its life until it dies of it.
func (k *Cluster) leak(life time.Duration, heap int) {
	c := k.shop.recommender.Containers[0]
	const limit = 512
	if heap < limit {
		level, step := 30, 24+k.rng.IntN(16)
		if heap > limit*8/10 {
			level = 40
		}
		k.say(c, `{"level":%d,"time":%d,"pid":1,"hostname":%q,"msg":"heap","used_mib":%d,"limit_mib":%d}`, level, k.now.UnixMilli(), c.pod.Name, heap, limit)
		k.after(time.Duration(float64(life)*float64(step)/(limit-120)), func() { k.leak(life, heap+step) })
		return
	}
	up := life.Milliseconds()
	for i, l := range []string{
		"<--- Last few GCs --->",
		"",
		fmt.Sprintf("[1:0x7f3c5a6d2000] %8d ms: Mark-Compact 509.1 (522.4) -> 508.7 (523.6) MB, 812.45 / 0.00 ms  (average mu = 0.081, current mu = 0.012) allocation failure; scavenge might not succeed", up),
		"<--- JS stacktrace --->",
		"",
		"FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
		"----- Native stack trace -----",
		" 1: 0xb8ced1 node::OOMErrorHandler(char const*, v8::OOMDetails const&) [node]",
		" 2: 0xf06460 v8::Utils::ReportOOMFailure(v8::internal::Isolate*, char const*, v8::OOMDetails const&) [node]",
		" 3: 0x1127ba7 v8::internal::V8::FatalProcessOutOfMemory(v8::internal::Isolate*, char const*, v8::OOMDetails const&) [node]",
	} {
		story := noStory
		if i == 5 {
			story = storyMemory
		}
		k.after(time.Duration(i)*50*time.Microsecond, func() { k.tale(c, story, true, "%s", l) })
	}
	k.shop.dead = true
	k.after(2*time.Second, func() {
		k.shop.dead = false
		k.restart(c)
		k.say(c, `{"level":30,"time":%d,"pid":1,"hostname":%q,"msg":"listening","port":3000}`, k.now.UnixMilli(), c.pod.Name)
		if !k.now.Before(k.cfg.Now) {
			life = 20 * time.Minute
		}
		k.after(time.Second, func() { k.leak(life, 120) })
	})
}

// keptJobs is how many pods of past runs a CronJob leaves.
const keptJobs = 3

// report is a CronJob: a pod each ten minutes, the last three are kept.
func (k *Cluster) report() {
	k.runReport(nil)
}

func (k *Cluster) runReport(old []*Pod) {
	const period = 10 * time.Minute
	minute := k.now.Truncate(time.Minute).Unix() / 60
	p := k.pod("shop", fmt.Sprintf("report-%d-%s", minute, k.hash(5)), "cronjob/report", "report")
	c := p.Containers[0]
	stamp := func() string { return k.now.UTC().Format(time.RFC3339) }
	orders := 40 + k.rng.IntN(200)
	k.after(time.Second, func() { k.say(c, "time=%s level=info msg=\"report begins\" range=10m", stamp()) })
	k.after(3*time.Second, func() { k.say(c, "time=%s level=info msg=\"orders counted\" orders=%d", stamp(), orders) })
	if k.chance(0.15) {
		k.after(5*time.Second, func() {
			k.say(c, "time=%s level=error msg=\"upload failed\" error=\"PUT https://reports.example/daily: 507 Insufficient Storage\"", stamp())
		})
	} else {
		k.after(5*time.Second, func() {
			k.say(c, "time=%s level=info msg=\"report uploaded\" bytes=%d", stamp(), 2000+k.rng.IntN(9000))
		})
	}
	old = append(old, p)
	for len(old) > keptJobs {
		gone := old[0]
		old = old[1:]
		k.after(20*time.Second, func() { k.remove(gone) })
	}
	k.after(period, func() { k.runReport(old) })
}
