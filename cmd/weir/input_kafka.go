package main

import (
	"fmt"
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
		if c.TLS, err = clientTLS(s.TLS.TLS).Follow(c.Logger); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	k, err := gateway.NewKafka(c)
	if err != nil {
		return nil, err
	}
	return &input{made: time.Now(), settings: s, run: k}, nil
}
