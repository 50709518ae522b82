package demo

import (
	"fmt"
	"strings"
	"time"
)

// system makes what belongs to the cluster itself: namespaces kube-system and
// monitoring.
func (k *Cluster) system() {
	alive := func() bool { return true }
	proxy := k.pod("kube-system", "kube-proxy-"+k.hash(5), "daemonset/kube-proxy", "kube-proxy")
	dns := k.deployment("kube-system", "coredns", 2, "coredns")
	prometheus := k.pod("monitoring", "prometheus-0", "statefulset/prometheus", "prometheus", "config-reloader")
	exporter := k.pod("monitoring", "node-exporter-"+k.hash(5), "daemonset/node-exporter", "node-exporter")
	grafana := k.deployment("monitoring", "grafana", 1, "grafana")[0]

	k.every(k.perLine(0.03), alive, func() {
		k.klog(proxy, "I", "proxier.go:828", `"Syncing iptables rules" ipFamily="IPv4" serviceCount=%d`, 9+k.rng.IntN(2))
		k.after(k.ms(20, 80), func() {
			k.klog(proxy, "I", "proxier.go:1610", `"Reloading service iptables data" ipFamily="IPv4" numServices=9 numEndpoints=%d numFilterChains=6 numNATRules=%d`, 14+k.rng.IntN(3), 51+k.rng.IntN(6))
		})
		if k.chance(0.02) {
			k.after(k.ms(200, 900), func() {
				k.klog(proxy, "W", "reflector.go:561", "watch of *v1.EndpointSlice ended with: very short watch: Unexpected watch close - watch lasted less than a second and no items received")
			})
		}
	})
	k.every(k.perLine(0.03), alive, func() {
		name := pick(k, "postgres.shop.svc.cluster.local.", "payments.payments.svc.cluster.local.", "acquirer.example.", "catalog.shop.svc.cluster.local.")
		code := "NOERROR"
		if strings.HasSuffix(name, "example.") && k.chance(0.2) {
			code = "SERVFAIL"
			k.tell(pick(k, dns...).Containers[0], `[ERROR] plugin/errors: 2 %s A: read udp %s:%d->192.0.2.53:53: i/o timeout`, name, k.ip(), 30_000+k.rng.IntN(30_000))
		}
		k.say(pick(k, dns...).Containers[0], `[INFO] %s:%d - %d "A IN %s udp %d false 1232" %s qr,aa,rd %d %.9fs`,
			k.ip(), 30_000+k.rng.IntN(30_000), k.rng.IntN(65_536), name, len(name)+40, code, 90+len(name), 0.0001+k.rng.Float64()/900)
	})
	k.every(k.perLine(0.02), alive, func() {
		k.logfmt(prometheus.Containers[0], "%s", pick(k,
			`level=info component=tsdb msg="Head GC completed" caller=truncateMemory duration=`+k.ms(2, 40).String(),
			`level=info component=tsdb msg="write block" mint=1795330800000 maxt=1795338000000 duration=`+k.ms(200, 900).String(),
			`level=warn component="scrape manager" scrape_pool=shop target=http://`+k.ip()+`:9100/metrics msg="Error on ingesting samples that are too old or are too far into the future" num_dropped=3`,
			`level=info component="query engine" msg="query done" duration=`+k.ms(1, 80).String()))
	})
	k.every(90*time.Second, alive, func() {
		k.logfmt(prometheus.Containers[1], `level=info msg="Reload triggered" cfg_in=/etc/prometheus/config/prometheus.yaml.gz cfg_out=/etc/prometheus/config_out/prometheus.env.yaml`)
	})
	k.every(2*time.Minute, alive, func() {
		k.tell(exporter.Containers[0], `time=%s level=%s source=node_exporter.go:%d msg=%q`, k.now.UTC().Format("2006-01-02T15:04:05.000Z"), "INFO", 117, "Enabled collectors refreshed")
	})
	k.every(k.perLine(0.02), alive, func() {
		k.say(grafana.Containers[0], `logger=context userId=%d orgId=1 uname=%s t=%s level=info msg="Request Completed" method=GET path=/api/dashboards/uid/%s status=200 remote_addr=%s time_ms=%d`,
			1+k.rng.IntN(9), pick(k, "ana", "ben", "carla"), k.now.UTC().Format(time.RFC3339Nano), pick(k, "shop", "payments", "nodes"), k.ip(), 2+k.rng.IntN(90))
	})
}

// klog is Kubernetes' own format.
func (k *Cluster) klog(p *Pod, level, where, format string, args ...any) {
	k.tell(p.Containers[0], "%s%s       1 %s] %s", level, k.now.UTC().Format("0102 15:04:05.000000"), where, fmt.Sprintf(format, args...))
}

func (k *Cluster) logfmt(c *Container, format string, args ...any) {
	k.tell(c, "ts=%s %s", k.now.UTC().Format("2006-01-02T15:04:05.000Z"), fmt.Sprintf(format, args...))
}

// noise is a service somebody forgot to set back from debug. What looks like
// secrets there is none.
func (k *Cluster) noise() {
	detail := pick(k,
		`msg="flag evaluated" flag=new-checkout user=c-%04d result=%t`, `msg="flag evaluated" flag=dark-mode user=c-%04d result=%t`,
		`msg="cache lookup" key=user:%d hit=%t`, `msg="rule matched" rule=country-is-de user=c-%04d result=%t`,
	)
	text := fmt.Sprintf(detail, k.rng.IntN(2400), k.chance(0.6))
	level := "debug"
	switch n := k.rng.IntN(1000); {
	case n < 4:
		text = pick(k,
			`msg="connect" dsn="postgres://flags:hunter2-not-a-real-password@postgres.shop.svc/flags"`,
			`msg="outgoing request" header.authorization="Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJkZW1vIn0.not-a-real-token"`,
			`msg="config" aws_access_key_id=AKIAIOSFODNN7EXAMPLE aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY`,
			`msg="profile" email=ana@shop.example card="4111 1111 1111 1111"`)
	case n < 24:
		level, text = "info", `msg="flags reloaded" count=`+fmt.Sprint(30+k.rng.IntN(4))
	case n < 29:
		level, text = "warn", `msg="flag is unknown, default used" flag=summer-sale`
	}
	k.tell(k.shop.flags.Containers[0], "time=%s level=%s %s", k.now.UTC().Format(time.RFC3339Nano), level, text)
}

// database is what postgres writes anyway.
func (k *Cluster) database() {
	p := k.shop.postgres
	if k.chance(0.15) {
		k.logfmt(p.Containers[1], `level=info msg="Established new database connection" fingerprint=localhost:5432`)
		return
	}
	k.pg("LOG", pick(k,
		"checkpoint starting: time",
		fmt.Sprintf("checkpoint complete: wrote %d buffers (%.1f%%); 0 WAL file(s) added, 0 removed, 1 recycled; write=%.3f s, sync=0.004 s, total=%.3f s", 40+k.rng.IntN(900), k.rng.Float64()*5, 4+k.rng.Float64()*20, 5+k.rng.Float64()*20),
		fmt.Sprintf("connection received: host=%s port=%d", k.ip(), 30_000+k.rng.IntN(30_000)),
		"connection authorized: user=orders database=shop application_name=orders",
		"automatic vacuum of table \"shop.public.carts\": index scans: 1",
	), noStory)
}

// pg writes a line of postgres, to stderr as it does by default.
func (k *Cluster) pg(level, text string, story int) {
	k.tale(k.shop.postgres.Containers[0], story, true, "%s [%d] %s:  %s", k.now.UTC().Format("2006-01-02 15:04:05.000 UTC"), 70+k.rng.IntN(40), level, text)
}

func (k *Cluster) slowQuery(took time.Duration, cancelled bool) {
	const statement = "SELECT p.id, p.name FROM products p JOIN related r ON r.other = p.id WHERE r.product = $1 ORDER BY r.score DESC"
	if cancelled {
		k.pg("ERROR", "canceling statement due to statement timeout", noStory)
		k.pg("STATEMENT", statement, noStory)
		return
	}
	k.pg("LOG", fmt.Sprintf("duration: %.3f ms  execute <unnamed>: %s", float64(took.Microseconds())/1000, statement), storySlow)
}

// recommend is a service that leaks memory until the kernel or its own runtime
// ends it. See plot.
func (k *Cluster) recommend() {
	if k.shop.dead {
		return
	}
	k.say(k.shop.recommender.Containers[0], `{"level":30,"time":%d,"pid":1,"hostname":%q,"msg":"recommendations computed","user":"c-%04d","items":%d,"ms":%d}`,
		k.now.UnixMilli(), k.shop.recommender.Name, k.rng.IntN(2400), 4+k.rng.IntN(20), 3+k.rng.IntN(60))
}

// snapshot is one very long line: the runtime cuts it into pieces.
func (k *Cluster) snapshot() {
	var b strings.Builder
	b.WriteString(k.now.UTC().Format("2006-01-02 15:04:05,000") + " DEBUG [catalog.cache] snapshot ")
	for i := range 900 + k.rng.IntN(900) {
		fmt.Fprintf(&b, "product:%d=%s;", 100+i, k.hex(12))
	}
	k.tell(k.shop.catalog[0].Containers[0], "%s", b.String())
}
