package config

import (
	"net/url"

	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/syslog"
)

// ForwardOutput sends the Fluentd Forward Protocol.
type ForwardOutput struct {
	Remote      `yaml:",inline"`
	SharedKey   Secret   `yaml:"shared_key" doc:"Key that the receiver asks for (its security.shared_key or Shared_Key)."`
	Hostname    string   `yaml:"hostname" doc:"Name to give in the handshake; the host's if empty."`
	Tag         Template `yaml:"tag" default:"weir.${namespace}.${pod}.${container}" doc:"Tag; ${namespace} and other attributes are filled in."`
	RequireAck  bool     `yaml:"require_ack" default:"true" doc:"Records are delivered only when the receiver has acknowledged them. Without it they are when the kernel has taken them, which is no promise."`
	Key         string   `yaml:"key" default:"log" doc:"Member with the text of a record."`
	JSON        string   `yaml:"json" enum:"merge,text" default:"merge" doc:"A record that is a JSON object. merge: its members are members of the entry, as Fluent Bit's Merge_Log makes them. text: it is a text like any other, byte for byte, as another weir reads it back."`
	Compression string   `yaml:"compression" enum:"none,gzip,zstd" default:"gzip" doc:"Compression of the entries. Fluentd and Fluent Bit know gzip; zstd only the newest."`
	Delivery    `yaml:",inline"`
}

// Endpoints returns the connection settings.
func (o *ForwardOutput) Endpoints() *Remote { return &o.Remote }

func (o *ForwardOutput) check(k *checker, p string) {
	k.notHTTP(p, &o.Remote, "24224", "24224")
	if o.Auth.User != "" && o.SharedKey == "" {
		k.err(p+".auth", "needs shared_key too").Hint = "the protocol has users only behind a shared key"
	}
	if o.Key == "" {
		k.err(p+".key", "is empty")
	}
	if _, err := wire.ParseTemplate(string(o.Tag), wire.SanitizeText); err != nil {
		k.inValue(p+".tag", err)
	}
}

// notHTTP reports settings that have a meaning only for HTTP, and addresses without
// a port: they are usually port, with TLS secure.
func (k *checker) notHTTP(p string, r *Remote, port, secure string) {
	if len(r.Headers) > 0 {
		k.err(p+".headers", "this protocol has none")
	}
	if r.Proxy != "none" && r.Proxy != "" {
		k.err(p+".proxy", "this protocol goes through none")
	}
	for _, place := range r.Places() {
		where, text := p+"."+place.Path, place.URL.Plain()
		switch u, err := url.Parse(string(text)); {
		case err != nil: // said already
		case u.Port() == "" && place.URL.Lookup() != "srv":
			usual := port
			if u.Scheme == "tls" {
				usual = secure
			}
			k.err(where, "the port is missing").Hint = "such as " + u.Scheme + "://" + u.Host + ":" + usual
		case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			k.err(where, "only scheme://host:port")
		}
	}
	for name, given := range map[string]bool{"api_key": r.Auth.APIKey != "", "bearer": r.Auth.Bearer != "", "bearer_file": r.Auth.BearerFile != ""} {
		if given {
			k.err(p+".auth."+name, "this protocol has none")
		}
	}
}

// SyslogOutput sends syslog.
type SyslogOutput struct {
	Remote         `yaml:",inline"`
	Format         string `yaml:"format" enum:"rfc5424,rfc3164" default:"rfc5424" doc:"Form of the messages."`
	Framing        string `yaml:"framing" enum:"octet_counting,lf" default:"octet_counting" doc:"How messages are told apart over TCP and TLS."`
	Facility       string `yaml:"facility" enum:"kern,user,mail,daemon,auth,syslog,lpr,news,uucp,cron,authpriv,ftp,ntp,security,console,clock,local0,local1,local2,local3,local4,local5,local6,local7" default:"user" doc:"Facility of records that have none."`
	StructuredData string `yaml:"structured_data" default:"weir@32473" doc:"Id of the element with attributes and fields, for rfc5424; none if empty."`
	JSON           string `yaml:"json" enum:"text,params" default:"text" doc:"A record that is a JSON object. text: it is the message as it stands. params: its members are parameters of the structured data, and the message is its member message, msg or log."`
	MaxMessage     Size   `yaml:"max_message" default:"64KiB" min:"480" max:"1MiB" doc:"Bytes of a message; the rest of a longer one is cut off. Over UDP not more than 8 KiB."`
	Delivery       `yaml:",inline"`
}

// Endpoints returns the connection settings.
func (o *SyslogOutput) Endpoints() *Remote { return &o.Remote }

func (o *SyslogOutput) check(k *checker, p string) {
	k.notHTTP(p, &o.Remote, "514", "6514")
	if o.Auth.User != "" {
		k.err(p+".auth", "syslog has none").Hint = "tls: {cert: …, key: …} says who you are"
	}
	if o.JSON == "params" && (o.Format != "rfc5424" || o.StructuredData == "") {
		k.err(p+".json", "params needs format: rfc5424 and structured_data")
	}
	if _, err := syslog.NewEncoder(syslog.Config{StructuredData: o.StructuredData}); err != nil {
		k.err(p+".structured_data", "bad id %q", shorten(o.StructuredData)).Hint = "1 to 32 printable characters without space, =, ] and quotes"
	}
}
