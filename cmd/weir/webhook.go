package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/metrics"
)

func webhookCommand() *cobra.Command {
	var flags configFlags
	var image string
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Give pods the sidecars that their annotations ask for",
		Long: `Answers the API server's admission requests: a pod with the annotations

  weir.dev/sidecar: stream              # or ship
  weir.dev/files: logs:*.log            # <volume>:<pattern>[;multiline=java]

gets a native sidecar that reads these files ('weir sidecar'). Install it with
'weir manifests webhook'. Bad annotations give warnings to whoever makes the pod,
which is admitted in any case.

It makes its certificate itself, keeps it in a Secret and renews it; webhook.cert
takes one from elsewhere. Kubernetes 1.29 or later.`,
		Example: `  weir webhook --image registry.example.com/weir:v1
  weir webhook inject -f pod.yaml --image weir:v1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts := flags.options("webhook")
			opts.Incomplete = true
			if image != "" {
				opts.Set = append(opts.Set, "webhook.image="+image)
			}
			return runWebhook(cmd.Context(), opts)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&image, "image", "", "image of the sidecars")
	cmd.AddCommand(webhookInjectCommand())
	return cmd
}

// webhook is a running webhook.
type webhook struct {
	set     *config.Webhook
	log     *slog.Logger
	inject  kube.InjectOptions
	native  atomic.Bool // the API server's version has native sidecars
	cert    atomic.Pointer[tls.Certificate]
	counts  map[string]*atomic.Uint64
	badCert atomic.Uint64
	problem atomic.Pointer[string] // why it is not ready
}

// webhookOptions are what the configuration says of sidecars.
func webhookOptions(w *config.Webhook) (kube.InjectOptions, error) {
	o := kube.InjectOptions{Image: w.Image, CPU: w.Resources.CPU, Memory: w.Resources.Memory, MemoryLimit: w.Resources.MemoryLimit, Check: checkFileSpec}
	if err := o.SetDefaults(); err != nil {
		return o, err
	}
	if w.ShipConfig == "" {
		return o, nil
	}
	text, err := os.ReadFile(string(w.ShipConfig))
	if err != nil {
		return o, fmt.Errorf("webhook.ship_config: %w", err)
	}
	o.ShipConfig, err = shipConfig(string(w.ShipConfig), text)
	return o, err
}

// checkFileSpec finds what of an entry of weir.dev/files a configuration would not take.
func checkFileSpec(s kube.FileSpec) error {
	if s.Parser != "" {
		var p config.Parser
		if err := p.UnmarshalText([]byte(s.Parser)); err != nil {
			return fmt.Errorf("parser: %w", err)
		}
	}
	if s.Multiline != "" {
		var m config.Multiline
		if err := m.UnmarshalText([]byte(s.Multiline)); err != nil {
			return fmt.Errorf("multiline: %w", err)
		}
	}
	if s.Rate != "" {
		var r config.RateLimit
		if err := r.UnmarshalText([]byte(s.Rate)); err != nil {
			return fmt.Errorf("rate: %w", err)
		}
	}
	return nil
}

func runWebhook(ctx context.Context, opts config.Options) error {
	cfg, warnings, err := config.Load(opts)
	if err != nil {
		return err
	}
	var level slog.LevelVar
	w := &webhook{set: &cfg.Webhook, log: newLogger(cfg.Log, &level), counts: make(map[string]*atomic.Uint64)}
	for _, warning := range warnings.List() {
		w.log.Warn(warning.Message, "at", warning.Pos.String())
	}
	for _, result := range []string{kube.AdmitInjected, kube.AdmitNone, kube.AdmitWarned, kube.AdmitFailed} {
		w.counts[result] = new(atomic.Uint64)
	}
	if w.inject, err = webhookOptions(w.set); err != nil {
		if w.set.Image == "" {
			return usageError("the image of the sidecars is not known: set webhook.image, or --image")
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &listeners{log: w.log, base: context.WithoutCancel(ctx)}
	defer func() { l.stop(stopPatience) }()
	if a := string(cfg.Listen.Probe); a != "" {
		ln, err := net.Listen("tcp", a)
		if err != nil {
			return fmt.Errorf("listen.probe: %w", err)
		}
		l.start(&http.Server{Handler: w.probes(), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}, ln, nil)
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: httpProtos, GetCertificate: w.certificate}
	if w.set.Cert != "" {
		if secure, err = newServerTLS(&config.ListenTLS{Cert: w.set.Cert, Key: w.set.Key}, httpProtos, w.log); err != nil {
			return cfg.Problem("webhook.cert", err.Error())
		}
	}
	ln, err := net.Listen("tcp", string(w.set.Listen))
	if err != nil {
		return fmt.Errorf("webhook.listen: %w", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	w.notReady("starting")
	wg.Go(func() { w.keep(ctx) })
	// The API server waits for seconds at most.
	l.start(&http.Server{Handler: w.handler(), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10}, ln, secure)
	w.log.Info("started", "version", version(), "address", ln.Addr().String(), "image", w.set.Image)
	<-ctx.Done()
	return nil
}

func (w *webhook) notReady(why string) { w.problem.Store(&why) }

// certificateEvery is how often the certificate is looked at: other replicas renew it,
// too. After a failure it is sooner.
const (
	certificateEvery = 5 * time.Minute
	certificateRetry = 5 * time.Second
)

// keep sees to the version of the API server and to the certificate until ctx ends.
func (w *webhook) keep(ctx context.Context) {
	var certs *kube.WebhookCert
	known := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if certs != nil {
				certs.Close()
			}
			return
		case <-timer.C:
		}
		err := w.look(ctx, &certs, &known)
		if ctx.Err() != nil {
			continue
		}
		wait := certificateEvery
		if err != nil {
			wait = certificateRetry
			w.badCert.Add(1)
			w.log.Error("the API server cannot use this webhook; pods are admitted without sidecars", "error", err)
			if w.set.Cert == "" && w.cert.Load() == nil {
				w.notReady(err.Error())
			}
		}
		timer.Reset(wait)
	}
}

// look does once what keep does.
func (w *webhook) look(ctx context.Context, certs **kube.WebhookCert, known *bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if !*known {
		major, minor, err := kube.ServerVersion(ctx, string(w.set.Kubeconfig))
		if err != nil {
			return err
		}
		*known = true
		w.native.Store(major > 1 || minor >= 29)
		if !w.native.Load() {
			w.log.Error("this cluster has no native sidecars (Kubernetes 1.29): no pod gets one", "version", fmt.Sprintf("%d.%d", major, minor))
		}
	}
	if w.set.Cert == "" {
		if *certs == nil {
			namespace := w.set.Namespace
			if namespace == "" {
				namespace = os.Getenv("POD_NAMESPACE")
			}
			made, err := kube.NewWebhookCert(kube.WebhookCertConfig{
				Kubeconfig: string(w.set.Kubeconfig), Namespace: namespace, Secret: w.set.Secret, Service: w.set.Service, Configuration: w.set.Configuration,
			})
			if err != nil {
				return err
			}
			*certs = made
		}
		cert, err := (*certs).Ensure(ctx)
		if cert != nil {
			w.cert.Store(cert)
		}
		if err != nil {
			return err
		}
	}
	w.problem.Store(nil)
	return nil
}

func (w *webhook) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := w.cert.Load(); c != nil {
		return c, nil
	}
	return nil, errors.New("there is no certificate yet")
}

// maxReview is how large a request may be: etcd takes objects of 1.5 MiB, and there may
// be two of them in it.
const maxReview = 4 << 20

func (w *webhook) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /inject", func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxReview))
		if err != nil {
			w.counts[kube.AdmitFailed].Add(1)
			http.Error(rw, "read the request: "+err.Error(), http.StatusBadRequest)
			return
		}
		o := w.inject
		o.NoNative = !w.native.Load()
		answer, result, err := kube.Admit(body, o)
		w.counts[result].Add(1)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		if _, err := rw.Write(answer); err != nil {
			w.log.Debug("answer", "error", err)
		}
	})
	return mux
}

// probes answers kubelet and Prometheus.
func (w *webhook) probes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "ok") })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if why := w.problem.Load(); why != nil {
			rw.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(rw, *why)
			return
		}
		fmt.Fprintln(rw, "ok")
	})
	mux.Handle("GET /metrics", metrics.NewCollector(version(), w.snapshot).Handler())
	return mux
}

func (w *webhook) snapshot() metrics.Snapshot {
	m := &metrics.Webhook{Requests: make(map[string]uint64), CertificateBad: w.badCert.Load()}
	for result, n := range w.counts {
		m.Requests[result] = n.Load()
	}
	if c := w.cert.Load(); c != nil {
		if leaf, err := x509.ParseCertificate(c.Certificate[0]); err == nil {
			m.Expires = leaf.NotAfter
		}
	}
	return metrics.Snapshot{Webhook: m, Config: metrics.Config{LastReloadOK: true}}
}

// shipConfig reads the configuration of shipping sidecars, by top-level key.
func shipConfig(name string, text []byte) (map[string]json.RawMessage, error) {
	var m map[string]any
	if err := unmarshalYAML(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out := make(map[string]json.RawMessage)
	for key, value := range m {
		switch key {
		case "outputs", "pipeline", "routes", "cluster", "limits", "multiline":
		default:
			return nil, fmt.Errorf("%s: %s is not for a sidecar's configuration here: want outputs, pipeline, routes, cluster, limits or multiline", name, key)
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, key, err)
		}
		out[key] = text
	}
	if out["outputs"] == nil {
		return nil, fmt.Errorf("%s: outputs are missing", name)
	}
	return out, nil
}
