package main

import "github.com/spf13/cobra"

func gatewayCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Take logs that are pushed, hold them, and forward them",
		Long: `Takes logs from applications, agents and devices in the protocols they speak,
and forwards them to one or many destinations. Outputs over the network have a
buffer on disk (1 GiB unless buffer.disk says otherwise): an answer that says yes
means that the logs are safe there.

The built-in configuration ('weir config show --role gateway') takes OTLP on
127.0.0.1:4317 (gRPC) and :4318 (HTTP), and every protocol over HTTP by its path
on 127.0.0.1:7410; -c adds to it, at least an output. Other protocols are inputs:
forward, syslog, gelf, socket. Beyond loopback who pushes has to say who it is:
listen.users, or a client's certificate.

Look at it with 'weir top' and 'weir tap', and try it with 'weir send'.`,
		Example: `  weir gateway --set outputs.elasticsearch.url=http://127.0.0.1:9200
  weir gateway -c weir.yaml
  weir send otlp://127.0.0.1:4318`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := process{opts: flags.options("gateway")}
			return p.run(cmd.Context())
		},
	}
	flags.add(cmd)
	return cmd
}
