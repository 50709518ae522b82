package config

// Webhook is about the admission webhook that injects sidecars. It is for the role
// webhook.
type Webhook struct {
	Listen        Address        `yaml:"listen" default:":8443" doc:"Address that the API server asks, over TLS."`
	Image         string         `yaml:"image" doc:"Image of the sidecars. It must be given; the manifests give the webhook's own."`
	Cert          Path           `yaml:"cert" doc:"File with the certificate, PEM, as cert-manager makes it; read again when it changes. Without it the webhook makes its own."`
	Key           Path           `yaml:"key" doc:"File with the key of cert, PEM."`
	Namespace     string         `yaml:"namespace" doc:"Namespace of the webhook; POD_NAMESPACE if empty."`
	Service       string         `yaml:"service" default:"weir-webhook" doc:"Service that the webhook's own certificate is for."`
	Secret        string         `yaml:"secret" default:"weir-webhook" doc:"Secret that keeps it, for all replicas."`
	Configuration string         `yaml:"configuration" default:"weir-webhook" doc:"MutatingWebhookConfiguration whose caBundle follows it."`
	ShipConfig    Path           `yaml:"ship_config" doc:"File with the configuration of shipping sidecars that name no ConfigMap: outputs, pipeline, routes. It is handed to them as it is, so it is no place for secrets."`
	Resources     SidecarRequest `yaml:"resources" doc:"Resources of the sidecars, as Kubernetes writes them."`
	Kubeconfig    Path           `yaml:"kubeconfig" doc:"File with the access to the API server; the pod's service account if empty."`
}

// SidecarRequest is what an injected container asks for.
type SidecarRequest struct {
	CPU         string `yaml:"cpu" default:"10m" doc:"Processor time requested."`
	Memory      string `yaml:"memory" default:"32Mi" doc:"Memory requested."`
	MemoryLimit string `yaml:"memory_limit" default:"96Mi" doc:"Memory at most."`
}

func (k *checker) webhook() {
	w := &k.cfg.Webhook
	if k.o.Preset != "webhook" {
		if k.given("webhook") {
			k.warn("webhook", "webhook is for the role webhook and means nothing here")
		}
		return
	}
	if (w.Cert == "") != (w.Key == "") {
		k.err("webhook", "cert and key belong together")
	}
	if w.Listen == "" {
		k.err("webhook.listen", "the webhook must listen somewhere")
	}
}
