package config

import (
	"fmt"
	"net"
	"strings"

	"github.com/weirlog/weir/wire"
)

// KafkaOutput produces to topics of a Kafka.
type KafkaOutput struct {
	Brokers         []string   `yaml:"brokers" required:"true" doc:"Some brokers of the cluster, as host:port."`
	Topic           Template   `yaml:"topic" default:"logs" doc:"Topic; ${namespace} and other attributes are filled in. Of their values letters, digits and -_. remain."`
	AllowAutoCreate bool       `yaml:"allow_auto_create" default:"false" doc:"Lets the brokers make a topic that is not there, if they are set up to."`
	Key             string     `yaml:"key" default:"stream" doc:"Key of a message. stream: a hash of who wrote it, so that the records of a stream stay in order. none: no key. Anything else is a template, such as '${namespace}/${pod}'."`
	Format          string     `yaml:"format" enum:"json,raw,otlp" default:"json" doc:"Value of a message. json: an object. raw: only the text. otlp: an ExportLogsServiceRequest in protobuf with one record."`
	Headers         []string   `yaml:"headers" doc:"Attributes of a record's stream that become headers of the message, beside weir-id with the record's id."`
	Compression     string     `yaml:"compression" enum:"none,gzip,snappy,lz4,zstd" default:"zstd" doc:"Compression of the messages."`
	MaxMessageBytes Size       `yaml:"max_message_bytes" default:"1000000" min:"1KiB" max:"1GiB" doc:"Bytes of a message, and of a batch of them as it is sent, at most: what the brokers and the topic take (message.max.bytes). A longer record is a dead letter."`
	SASL            SASL       `yaml:"sasl" doc:"Credentials."`
	TLS             KafkaTLS   `yaml:"tls" doc:"Settings of TLS, at least 1.2. Files are read again when they change."`
	Timeout         Duration   `yaml:"timeout" default:"30s" min:"1s" max:"1h" doc:"Longest time for one attempt, in which the client follows moving leaders by itself."`
	Concurrency     Sequential `yaml:"concurrency" doc:"Requests at the same time."`
	Keys            Keys       `yaml:"keys" doc:"Names of the members that every message has, for json."`
	Delivery        `yaml:",inline"`
}

// SASL are the credentials for a Kafka.
type SASL struct {
	Mechanism string `yaml:"mechanism" enum:"none,plain,scram-sha-256,scram-sha-512" default:"none" doc:"How the client shows who it is."`
	User      string `yaml:"user" doc:"Name of the user."`
	Password  Secret `yaml:"password" doc:"Password of that user."`
}

// KafkaTLS are the settings of TLS where no URL says whether it is used.
type KafkaTLS struct {
	Enabled bool `yaml:"enabled" default:"false" doc:"Uses TLS; any other setting of tls does so too."`
	TLS     `yaml:",inline"`
}

// Used reports whether TLS is used.
func (t KafkaTLS) Used() bool { return t.Enabled || t.TLS != (TLS{}) }

// Sequential is Concurrency where the order of records is worth more.
type Sequential struct {
	Max int `yaml:"max" default:"1" min:"1" max:"1024" doc:"Requests at the same time at most; with more than 1 the records of a stream may change places."`
}

// Attempts returns how many attempts there are at the same time, and how long one
// takes at most.
func (o *KafkaOutput) Attempts() (concurrency int, timeout Duration) {
	return o.Concurrency.Max, o.Timeout
}

func (o *KafkaOutput) check(k *checker, p string) {
	k.brokers(p, o.Brokers, o.SASL, o.TLS)
	k.name(p+".topic", string(o.Topic), wire.SanitizeTopic)
	if o.Key != "stream" && o.Key != "none" {
		if !strings.Contains(o.Key, "${") {
			k.err(p+".key", "bad key %q", shorten(o.Key)).Hint = "stream, none, or a template such as '${namespace}/${pod}'"
		} else {
			k.name(p+".key", o.Key, wire.SanitizeText)
		}
	}
	for i, h := range o.Headers {
		if h == "" || strings.HasPrefix(h, "weir-") {
			k.err(fmt.Sprintf("%s.headers[%d]", p, i), "bad name of an attribute %q", shorten(h)).Hint = "such as namespace, pod, container, label_app"
		}
	}
	k.keys(p, o.Keys)
	if o.Batch.Bytes > 0 && o.MaxMessageBytes > 100<<20 {
		k.warn(p+".max_message_bytes", "brokers take 1 MB unless they are told otherwise")
	}
}

// brokers checks what outputs to and inputs from a Kafka have in common.
func (k *checker) brokers(p string, brokers []string, s SASL, t KafkaTLS) {
	for i, b := range brokers {
		where := fmt.Sprintf("%s.brokers[%d]", p, i)
		host, port, err := net.SplitHostPort(b)
		switch {
		case strings.Contains(b, "://"):
			k.err(where, "a broker has no scheme").Hint = "write host:9092"
		case err != nil || host == "" || port == "":
			k.err(where, "bad address %q", shorten(b)).Hint = "write host:9092"
		case s.Mechanism == "plain" && !t.Used() && !loopbackHost(host) && i == 0:
			k.warn(p+".sasl.mechanism", "the password is sent without TLS").Hint = "tls: {enabled: true}, or scram-sha-512"
		}
	}
	switch {
	case s.Mechanism == "none" && (s.User != "" || s.Password != ""):
		k.err(p+".sasl", "user and password need a mechanism").Hint = "plain, scram-sha-256 or scram-sha-512"
	case s.Mechanism != "none" && s.User == "":
		k.err(p+".sasl.mechanism", "needs a user")
	case s.Mechanism != "none" && s.Password == "":
		k.err(p+".sasl.user", "needs a password")
	}
	if (t.Cert == "") != (t.Key == "") {
		k.err(p+".tls", "cert and key go together")
	}
	if t.InsecureSkipVerify {
		k.warn(p+".tls.insecure_skip_verify", "anyone on the way can read and change the logs")
	}
}

// name checks a template for names that obey rules.
func (k *checker) name(p, text string, rules *wire.Sanitizer) {
	if text == "" {
		return
	}
	if _, err := wire.ParseTemplate(text, rules); err != nil {
		k.err(p, "bad template: %s", templatePrefix.ReplaceAllString(err.Error(), ""))
	}
}
