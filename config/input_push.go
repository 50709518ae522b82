package config

// Push is what inputs that are pushed to over HTTP have in common.
type Push struct {
	TLS      ListenTLS         `yaml:"tls" doc:"TLS of the listener. The files are read again when they change."`
	Labels   map[string]string `yaml:"labels" doc:"Attributes added to every record."`
	Insecure bool              `yaml:"insecure" default:"false" doc:"Lets the input listen beyond loopback without authentication."`
}

// Listeners is where an input that is pushed to listens. Addresses that are empty
// are none.
type Listeners struct {
	HTTP, GRPC, TCP, UDP Address
	Unix                 Path
	TLS                  *ListenTLS
	Labels               map[string]string
}

// PushedInput is the settings of an input that others push to.
type PushedInput interface {
	Listeners() Listeners
}

// OTLPInput takes OTLP.
type OTLPInput struct {
	GRPC Address `yaml:"grpc" doc:"Address to listen on for OTLP over gRPC, such as 127.0.0.1:4317; off if empty. Beyond loopback it needs listen.users, tls.client_ca or insecure: true."`
	HTTP Address `yaml:"http" doc:"The same for OTLP over HTTP, such as 127.0.0.1:4318."`
	Push `yaml:",inline"`
}

// Listeners implements PushedInput.
func (s *OTLPInput) Listeners() Listeners {
	return Listeners{HTTP: s.HTTP, GRPC: s.GRPC, TLS: &s.TLS, Labels: s.Labels}
}

func (s *OTLPInput) check(k *checker, p string) {
	k.push(p, &s.Push, map[string]Address{"grpc": s.GRPC, "http": s.HTTP})
}

// HTTPInput takes a protocol over HTTP on a listener of its own.
type HTTPInput struct {
	HTTP Address `yaml:"http" required:"true" doc:"Address to listen on. Beyond loopback it needs listen.users, tls.client_ca or insecure: true."`
	Push `yaml:",inline"`
}

// Listeners implements PushedInput.
func (s *HTTPInput) Listeners() Listeners {
	return Listeners{HTTP: s.HTTP, TLS: &s.TLS, Labels: s.Labels}
}

func (s *HTTPInput) check(k *checker, p string) {
	k.push(p, &s.Push, map[string]Address{"http": s.HTTP})
}

// push checks what all inputs over HTTP have.
func (k *checker) push(p string, s *Push, at map[string]Address) {
	listens := false
	for name, a := range at {
		listens = listens || a != ""
		if a != "" && !a.Loopback() && len(k.cfg.Listen.Users) == 0 && s.TLS.ClientCA == "" && !s.Insecure {
			k.err(p+"."+name, "anyone who reaches %s could write logs: there is no authentication", a).Hint = "listen on 127.0.0.1, give listen.users or tls.client_ca, or say insecure: true"
		}
	}
	if !listens && len(at) > 1 {
		k.err(p, "there is no address to listen on").Hint = "grpc or http"
	}
	t := s.TLS
	switch {
	case (t.Cert == "") != (t.Key == ""):
		have, miss := "cert", "key"
		if t.Cert == "" {
			have, miss = miss, have
		}
		k.err(p+".tls."+have, "needs %s too", miss)
	case t.ClientCA != "" && t.Cert == "":
		k.err(p+".tls.client_ca", "needs cert and key too")
	}
	for name := range s.Labels {
		if !labelName(name) {
			k.err(p+".labels."+name, "bad label name %q", shorten(name)).Hint = "letters, digits and _, not starting with a digit"
		}
	}
}
