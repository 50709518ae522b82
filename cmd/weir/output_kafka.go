package main

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/deliver"
	"github.com/weirlog/weir/output"
	"github.com/weirlog/weir/wire"
	"github.com/weirlog/weir/wire/otlp"
)

// attempts is what outputs say of their attempts that have no config.Remote.
type attempts interface {
	Attempts() (concurrency int, timeout config.Duration)
}

func kafkaOutput(s *config.KafkaOutput, log *slog.Logger) (deliver.Endpoint, error) {
	topic, err := wire.ParseTemplate(string(s.Topic), wire.SanitizeTopic)
	if err != nil {
		return deliver.Endpoint{}, fmt.Errorf("topic: %w", err)
	}
	c := output.KafkaConfig{
		KafkaConn: kafkaConn(s.Brokers, s.SASL, s.TLS, s.Timeout, log),
		Topic:     topic, AllowAutoCreate: s.AllowAutoCreate, Key: s.Key, Format: s.Format, JSON: jsonlConfig(s.Keys),
		OTLP: otlp.Config{Labels: every, Annotations: every, Version: version()}, Headers: s.Headers,
		Compression: s.Compression, MaxMessage: int(s.MaxMessageBytes),
	}
	if s.Key != "stream" && s.Key != "none" {
		c.Key = ""
		if c.KeyTemplate, err = wire.ParseTemplate(s.Key, wire.SanitizeText); err != nil {
			return deliver.Endpoint{}, fmt.Errorf("key: %w", err)
		}
	}
	out, err := output.NewKafka(c)
	if err != nil {
		return deliver.Endpoint{}, err
	}
	return deliver.Endpoint{Name: strings.Join(s.Brokers, ","), Output: out}, nil
}

func kafkaConn(brokers []string, s config.SASL, t config.KafkaTLS, timeout config.Duration, log *slog.Logger) output.KafkaConn {
	c := output.KafkaConn{
		Brokers: brokers, UseTLS: t.Used(), TLS: clientTLS(t.TLS),
		Timeout: time.Duration(timeout), Logger: log, Version: version(),
	}
	if s.Mechanism != "none" {
		c.SASL = output.SASL{Mechanism: s.Mechanism, User: s.User, Password: output.Secret(s.Password)}
	}
	return c
}

func clientTLS(t config.TLS) output.TLS {
	return output.TLS{
		CA: string(t.CA), Cert: string(t.Cert), Key: string(t.Key), ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify,
	}
}
