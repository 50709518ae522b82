package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/gateway"
)

func (p *process) kafkaInput(id config.ID, s *config.KafkaInput) (*input, error) {
	c := gateway.KafkaConfig{
		Brokers: s.Brokers, Topics: s.Topics, Group: s.Group, Format: s.Format, FromEnd: s.Start == "end", Labels: s.Labels,
		Version: version(), Logger: p.log.With("input", string(id)),
	}
	if s.SASL.Mechanism != "none" {
		c.Mechanism, c.User, c.Password = s.SASL.Mechanism, s.SASL.User, string(s.SASL.Password)
	}
	if s.TLS.Used() {
		var err error
		if c.TLS, err = kafkaTLS(s.TLS.TLS); err != nil {
			return nil, err
		}
	}
	k, err := gateway.NewKafka(c)
	if err != nil {
		return nil, err
	}
	return &input{made: time.Now(), settings: s, run: k}, nil
}

// kafkaTLS reads the files.
func kafkaTLS(t config.TLS) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify} // #nosec G402: the operator's explicit choice, warned of
	if t.CA != "" {
		pem, err := os.ReadFile(string(t.CA))
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca: %s holds no certificate in PEM form", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(string(t.Cert), string(t.Key))
		if err != nil {
			return nil, fmt.Errorf("tls.cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
