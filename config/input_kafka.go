package config

import (
	"fmt"
	"strings"
)

// KafkaInput consumes topics of a Kafka.
type KafkaInput struct {
	Brokers []string          `yaml:"brokers" required:"true" doc:"Some brokers of the cluster, as host:port."`
	Topics  []string          `yaml:"topics" required:"true" doc:"Topics to consume."`
	Group   string            `yaml:"group" default:"weir" doc:"Consumer group; its members share the partitions, and its committed offsets say where to go on."`
	Format  string            `yaml:"format" enum:"auto,text,json,otlp" default:"auto" doc:"Values of messages. auto, text: as they are, for the pipeline to parse. json: what is no JSON is marked. otlp: an ExportLogsServiceRequest in protobuf. What cannot be read is kept as it is."`
	Start   string            `yaml:"start" enum:"beginning,end" default:"beginning" doc:"Where to begin in partitions that the group has no offset of."`
	Labels  map[string]string `yaml:"labels" doc:"Attributes added to every record."`
	SASL    SASL              `yaml:"sasl" doc:"Credentials."`
	TLS     KafkaTLS          `yaml:"tls" doc:"Settings of TLS, at least 1.2."`
}

func (in *KafkaInput) check(k *checker, p string) {
	k.brokers(p, in.Brokers, in.SASL, in.TLS)
	for i, t := range in.Topics {
		if t == "" || len(t) > 249 || strings.Trim(t, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			k.err(fmt.Sprintf("%s.topics[%d]", p, i), "bad name of a topic %q", shorten(t))
		}
	}
	if in.Group == "" {
		k.err(p+".group", "is empty")
	}
	for name := range in.Labels {
		if !labelName(name) {
			k.err(p+".labels."+name, "bad label name %q", shorten(name)).Hint = "letters, digits and _, not starting with a digit"
		}
	}
	for _, out := range k.cfg.Outputs {
		o, ok := out.Settings.(*KafkaOutput)
		if !ok || len(o.Brokers) == 0 || len(in.Brokers) == 0 || o.Brokers[0] != in.Brokers[0] {
			continue
		}
		for _, t := range in.Topics {
			if t == string(o.Topic) {
				k.err(p+".topics", "outputs.%s writes to this topic: its records would go round for ever", out.ID)
			}
		}
	}
}
