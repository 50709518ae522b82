package demo

import (
	"fmt"
	"strings"
	"time"
)

// shop is the part of the cluster that serves requests.
type shop struct {
	ingress, postgres, recommender, flags *Pod

	web, orders, catalog, payments []*Pod

	orderNumber int
	dead        bool // recommender, at the moment
}

// Numbers of the stories, as in Event.Story.
const (
	noStory = iota
	storyOutage
	storySlow
	storyDeploy
	storyMemory
)

// begin makes the cluster as it is at the start, and what will happen.
func (k *Cluster) begin() {
	s := &k.shop
	s.orderNumber = 48_211
	s.ingress = k.deployment("kube-system", "ingress", 1, "envoy")[0]
	s.web = k.deployment("shop", "web", 2, "nginx")
	s.orders = k.deployment("shop", "orders", 3, "orders")
	s.catalog = k.deployment("shop", "catalog", 2, "catalog")
	s.payments = k.deployment("payments", "payments", 2, "payments")
	s.recommender = k.deployment("shop", "recommender", 1, "recommender")[0]
	s.flags = k.deployment("shop", "flags", 1, "flags")[0]
	s.postgres = k.pod("shop", "postgres-0", "statefulset/postgres", "postgres", "exporter")
	k.system()
	k.plot()

	alive := func() bool { return true }
	// A request writes 3.6 lines on average.
	k.every(k.perLine(0.66/3.6), alive, k.request)
	k.every(k.perLine(0.14), alive, k.noise)
	k.every(k.perLine(0.02), alive, k.database)
	k.every(k.perLine(0.02), alive, k.recommend)
	k.every(20*time.Minute, alive, k.snapshot)
	k.after(3*time.Minute, k.report)
	for _, p := range s.orders {
		k.startOrders(p, "1.8.3")
	}
}

func (k *Cluster) deployment(namespace, name string, replicas int, container string) []*Pod {
	set := name + "-" + k.hash(10)
	var list []*Pod
	for range replicas {
		list = append(list, k.pod(namespace, set+"-"+k.hash(5), "deployment/"+name, container))
	}
	return list
}

var agents = []string{
	"Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5) Safari/604.1",
	"Mozilla/5.0 (Windows NT 10.0) Chrome/138.0", "shop-app/5.2.1 (Android 15)",
}

// visit is one request on its way through the shop.
type visit struct {
	method, path, trace, client, agent string
	status, bytes                      int
	took                               time.Duration
}

// request lets somebody ask for something.
func (k *Cluster) request() {
	v := &visit{method: "GET", trace: k.hex(32), client: fmt.Sprintf("203.0.113.%d", 1+k.rng.IntN(254)), agent: pick(k, agents...), status: 200, bytes: 900 + k.rng.IntN(24_000), took: k.ms(3, 60)}
	switch n := k.rng.IntN(100); {
	case n < 22:
		v.path = pick(k, "/", "/", "/static/app.css", "/static/app.js", "/help")
	case n < 60:
		v.path = fmt.Sprintf("/products/%d", 100+k.rng.IntN(400))
		if k.chance(0.2) {
			v.path = "/search?q=" + pick(k, "teapot", "lamp", "red+shoes", "%C3%BCbergr%C3%B6%C3%9Fe", "umbrella")
		}
		k.catalogPage(v)
	case n < 61:
		v.path = pick(k, "/wp-login.php", "/.env", "/admin", "/products/0")
		v.status, v.bytes = 404, 153
	case n < 80:
		v.method, v.path, v.bytes, v.took = "POST", "/cart", 61, k.ms(8, 90)
		pod, trace, item, took := pick(k, k.shop.orders...), v.trace, 100+k.rng.IntN(400), v.took
		k.after(took/2, func() {
			k.order(pod, "INFO", "item added", noStory, `"trace_id":%q,"item":%d,"quantity":%d,"took_ms":%d`, trace, item, 1+k.rng.IntN(3), took.Milliseconds()/2)
		})
	default:
		v.method, v.path = "POST", "/checkout"
		k.checkout(v)
	}
	k.after(v.took, func() { k.access(v) })
}

// access writes a visit where it came in: at nginx and, behind it, at envoy.
func (k *Cluster) access(v *visit) {
	pod := pick(k, k.shop.web...)
	end := k.now.UTC()
	if v.status >= 500 {
		reason := `upstream prematurely closed connection while reading response header from upstream`
		if v.status == 504 || v.status == 503 {
			reason = `upstream timed out (110: Connection timed out) while reading response header from upstream`
		}
		k.tell(pod.Containers[0], `%s [error] 31#31: *%d %s, client: %s, server: shop.example, request: "%s %s HTTP/1.1", upstream: "http://10.96.41.7:8080%s", host: "shop.example"`,
			end.Format("2006/01/02 15:04:05"), 1000+k.rng.IntN(90_000), reason, v.client, v.method, v.path, v.path)
	}
	k.say(pod.Containers[0], `%s - - [%s] "%s %s HTTP/1.1" %d %d "-" "%s" rt=%.3f trace_id=%s`,
		v.client, end.Format("02/Jan/2006:15:04:05 -0700"), v.method, v.path, v.status, v.bytes, v.agent, v.took.Seconds(), v.trace)
	k.after(k.ms(1, 2), func() {
		flags := "-"
		if v.status == 504 {
			flags = "UT"
		}
		k.say(k.shop.ingress.Containers[0], `[%s] "%s %s HTTP/2" %d %s %d %d %d %d "%s" "%s" "%s" "shop.example" "10.244.1.%d:8080"`,
			end.Add(-v.took).Format("2006-01-02T15:04:05.000Z"), v.method, v.path, v.status, flags, len(v.path), v.bytes,
			v.took.Milliseconds()+2, v.took.Milliseconds(), v.client, v.agent, v.trace, 20+k.rng.IntN(2))
	})
}

// order writes a line of orders: Go's log/slog as JSON.
func (k *Cluster) order(p *Pod, level, msg string, story int, format string, args ...any) {
	if format != "" {
		format = "," + fmt.Sprintf(format, args...)
	}
	k.tale(p.Containers[0], story, false, `%s`, fmt.Sprintf(`{"time":%q,"level":%q,"msg":%q,"version":%q%s}`,
		k.now.UTC().Format(time.RFC3339Nano), level, msg, p.version, format))
}

// badVersion of orders cannot read one of its settings.
const badVersion = "1.9.0"

func (k *Cluster) startOrders(p *Pod, version string) {
	p.version = version
	k.order(p, "INFO", "starting", noStory, `"listen":":8080","database":"postgres.shop.svc:5432","payments":"http://payments.payments.svc"`)
	if version == badVersion {
		k.order(p, "WARN", "setting is not understood, discounts will fail", storyDeploy, `"setting":"DISCOUNT_RATE","value":"12%%"`)
	}
}

// checkout buys something: orders asks payments, payments the acquirer.
func (k *Cluster) checkout(v *visit) {
	pod, pay := pick(k, k.shop.orders...), pick(k, k.shop.payments...)
	k.shop.orderNumber++
	order, trace, customer := fmt.Sprintf("o-%d", k.shop.orderNumber), v.trace, fmt.Sprintf("c-%04d", k.rng.IntN(2400))
	amount := float64(k.rng.IntN(18_000)+400) / 100
	v.bytes, v.took = 214, k.ms(90, 420)
	begun := k.now
	k.after(k.ms(1, 4), func() {
		k.order(pod, "INFO", "checkout started", noStory, `"trace_id":%q,"order":%q,"customer":%q,"amount":%.2f`, trace, order, customer, amount)
	})
	if pod.version == badVersion && k.chance(0.3) { // has a coupon
		v.status, v.bytes, v.took = 500, 87, k.ms(5, 12)
		k.after(v.took-time.Millisecond, func() {
			k.order(pod, "ERROR", "checkout failed", storyDeploy,
				`"trace_id":%q,"order":%q,"coupon":"AUTUMN","error":"apply discount: DISCOUNT_RATE: strconv.ParseFloat: parsing \"12%%\": invalid syntax"`, trace, order)
		})
		return
	}
	k.after(k.ms(5, 10), func() {
		k.pay(pay, "INFO", "PaymentService", noStory, trace, "", "Authorizing %.2f EUR for order %s", amount, order)
	})
	if k.outage(k.now) && k.chance(0.85) {
		at := k.ms(10, 20)
		for try := 1; try <= 3; try++ {
			at += time.Second
			k.after(at, func() {
				k.pay(pay, "WARN", "AcquirerClient", storyOutage, trace, "", "acquirer timed out after 1000 ms, attempt %d of 3", try)
			})
			at += k.ms(100, 300)
		}
		k.after(at, func() {
			k.pay(pay, "ERROR", "PaymentService", storyOutage, trace, stackTrace(1+k.rng.IntN(40)), "Payment of order %s failed: acquirer timed out", order)
		})
		k.after(at+k.ms(2, 5), func() {
			k.order(pod, "ERROR", "payment failed", noStory, `"trace_id":%q,"order":%q,"error":"POST http://payments.payments.svc/authorize: 503 Service Unavailable"`, trace, order)
		})
		v.status, v.bytes, v.took = 503, 190, at+6*time.Millisecond
		return
	}
	k.after(v.took-5*time.Millisecond, func() {
		if k.chance(0.02) {
			k.pay(pay, "WARN", "PaymentService", noStory, trace, "", "Payment of order %s declined: insufficient funds", order)
			return
		}
		k.pay(pay, "INFO", "PaymentService", noStory, trace, "", "Payment of order %s authorized", order)
	})
	k.after(v.took-time.Millisecond, func() {
		k.order(pod, "INFO", "order placed", noStory, `"trace_id":%q,"order":%q,"took_ms":%d`, trace, order, k.now.Sub(begun).Milliseconds())
	})
}

// pay writes a line of payments: logback's JSON.
func (k *Cluster) pay(p *Pod, level, logger string, story int, trace, stack, format string, args ...any) {
	if stack != "" {
		stack = fmt.Sprintf(`,"stack_trace":%q`, stack)
	}
	k.tale(p.Containers[0], story, false, `%s`, fmt.Sprintf(`{"@timestamp":%q,"@version":"1","message":%q,"logger_name":"com.example.payments.%s","thread_name":"http-nio-8080-exec-%d","level":%q,"level_value":%d,"trace_id":%q%s}`,
		k.now.UTC().Format("2006-01-02T15:04:05.000Z"), fmt.Sprintf(format, args...), logger, 1+k.rng.IntN(8), level,
		map[string]int{"DEBUG": 10000, "INFO": 20000, "WARN": 30000, "ERROR": 40000}[level], trace, stack))
}

func stackTrace(line int) string {
	return strings.Join([]string{
		"com.example.payments.PaymentException: authorization failed",
		fmt.Sprintf("\tat com.example.payments.PaymentService.authorize(PaymentService.java:%d)", 80+line),
		"\tat com.example.payments.PaymentController.post(PaymentController.java:41)",
		"\tat java.base/jdk.internal.reflect.DirectMethodHandleAccessor.invoke(DirectMethodHandleAccessor.java:103)",
		"\tat org.springframework.web.servlet.FrameworkServlet.service(FrameworkServlet.java:885)",
		"\tat java.base/java.lang.Thread.run(Thread.java:1583)",
		"Caused by: java.net.SocketTimeoutException: Read timed out",
		"\tat java.base/sun.nio.ch.NioSocketImpl.timedRead(NioSocketImpl.java:278)",
		fmt.Sprintf("\tat com.example.payments.AcquirerClient.call(AcquirerClient.java:%d)", 50+line),
		"\t... 38 common frames omitted", "",
	}, "\n")
}

// catalogPage is what catalog writes of a page: Python's logging, as text. While
// the database is slow, pages run into its statement timeout.
func (k *Cluster) catalogPage(v *visit) {
	pod := pick(k, k.shop.catalog...)
	stamp := func() string { return k.now.UTC().Format("2006-01-02 15:04:05,000") }
	product := strings.TrimPrefix(v.path, "/products/")
	switch {
	case k.slow(k.now) && k.chance(0.3):
		if k.chance(0.5) {
			v.status, v.bytes, v.took = 504, 160, 5*time.Second+k.ms(5, 30)
			k.after(v.took-4*time.Millisecond, func() {
				k.slowQuery(v.took, true)
				for i, l := range []string{
					stamp() + " ERROR [catalog.views] " + v.method + " " + v.path + " failed trace_id=" + v.trace,
					"Traceback (most recent call last):",
					`  File "/app/catalog/views.py", line 88, in product`,
					"    rows = self.db.related(product_id)",
					`  File "/app/catalog/db.py", line 131, in related`,
					"    cur.execute(RELATED, (product_id,))",
					"psycopg2.errors.QueryCanceled: canceling statement due to statement timeout",
				} {
					k.after(time.Duration(i)*20*time.Microsecond, func() { k.tell(pod.Containers[0], "%s", l) })
				}
			})
			return
		}
		v.took = k.ms(1200, 4900)
		k.after(v.took-3*time.Millisecond, func() {
			k.slowQuery(v.took, false)
			k.tell(pod.Containers[0], "%s WARNING [catalog.db] slow query: related took %.2f s trace_id=%s", stamp(), v.took.Seconds(), v.trace)
		})
	case k.chance(0.004):
		v.status, v.bytes = 500, 141
		for i, l := range []string{
			"ERROR [catalog.views] " + v.method + " " + v.path + " failed trace_id=" + v.trace,
			"Traceback (most recent call last):",
			`  File "/app/catalog/views.py", line 93, in product`,
			`    price = product["price"]["amount"]`,
			`            ~~~~~~~^^^^^^^^^`,
			"KeyError: 'price'",
		} {
			k.after(v.took/2+time.Duration(i)*20*time.Microsecond, func() {
				if i == 0 {
					l = stamp() + " " + l
				}
				k.tell(pod.Containers[0], "%s", l)
			})
		}
	default:
		hit := pick(k, "hit", "hit", "hit", "miss")
		k.after(v.took/2, func() {
			k.tell(pod.Containers[0], "%s INFO [catalog.views] served %s cache=%s trace_id=%s", stamp(), product, hit, v.trace)
		})
	}
}
