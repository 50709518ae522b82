package config

import (
	"strings"

	"github.com/weirlog/weir/wire"
)

// SplunkOutput sends to the HTTP Event Collector of Splunk.
type SplunkOutput struct {
	Remote      `yaml:",inline"`
	Token       Secret    `yaml:"token" doc:"Token of the collector."`
	TokenFile   Path      `yaml:"token_file" doc:"File with the token; read again when it changes."`
	Index       Template  `yaml:"index" doc:"Index; ${namespace} and other attributes are filled in. The token's if empty."`
	Source      Template  `yaml:"source" default:"${namespace}/${pod}/${container}" doc:"Source of the events, as Splunk shows it."`
	Sourcetype  Template  `yaml:"sourcetype" default:"kube:container:${container}" doc:"Source type."`
	Host        Template  `yaml:"host" default:"${node}" doc:"Host of the events, as Splunk shows it."`
	Ack         SplunkAck `yaml:"ack" doc:"Indexer acknowledgement, if the token has it."`
	Compression string    `yaml:"compression" enum:"none,gzip" default:"gzip" doc:"Compression of requests."`
	Delivery    `yaml:",inline"`
}

// SplunkAck says whether to wait until Splunk has indexed the events.
type SplunkAck struct {
	Enabled bool     `yaml:"enabled" default:"false" doc:"Records are delivered only when the indexers have acknowledged them (useACK); without it when the collector has taken them, into its memory."`
	Every   Duration `yaml:"every" default:"500ms" min:"50ms" max:"1m" doc:"How often to ask."`
	Timeout Duration `yaml:"timeout" default:"2m" min:"1s" max:"1h" doc:"How long to ask; then the records are sent again. At least as long as timeout."`
}

// Endpoints returns the connection settings.
func (o *SplunkOutput) Endpoints() *Remote { return &o.Remote }

func (o *SplunkOutput) check(k *checker, p string) {
	switch {
	case o.Token != "" && o.TokenFile != "":
		k.err(p+".token_file", "token is given too").Hint = "keep one"
	case o.Token == "" && o.TokenFile == "":
		k.err(p, "token is missing").Hint = "token: '${env:SPLUNK_HEC_TOKEN}', or token_file"
	}
	if strings.ContainsAny(string(o.Token), "\r\n\x00") {
		k.err(p+".token", "holds a line break")
	}
	if o.Auth != (Auth{}) {
		k.err(p+".auth", "the collector takes a token").Hint = "token: …"
	}
	k.name(p+".index", string(o.Index), wire.SanitizeSplunkIndex)
	k.name(p+".source", string(o.Source), wire.SanitizeText)
	k.name(p+".sourcetype", string(o.Sourcetype), wire.SanitizeText)
	k.name(p+".host", string(o.Host), wire.SanitizeText)
}

// Attempts returns how many attempts there are at the same time, and how long one
// takes at most: with the waiting for acknowledgements.
func (o *SplunkOutput) Attempts() (concurrency int, timeout Duration) {
	if o.Ack.Enabled {
		return o.Concurrency.Max, o.Timeout + o.Ack.Timeout
	}
	return o.Concurrency.Max, o.Timeout
}
