package main

import "github.com/spf13/cobra"

// helpTopics are `weir help TOPIC` pages that are not commands.
func helpTopics() []*cobra.Command {
	topic := func(name, short, text string) *cobra.Command {
		return &cobra.Command{Use: name, Short: short, Long: text}
	}
	return []*cobra.Command{
		topic("exit-codes", "What the exit codes mean", `0    ok; also after SIGTERM and a clean drain, and when the reader of a pipe left
1    failed
2    wrong usage
3    the configuration is invalid; nothing was started
4    a server or the cluster could not be reached, or did not let us in
5    finished, but data was dropped or cut
130  interrupted with Ctrl-C`),
		topic("env", "Which environment variables count", `WEIR_<PATH>   any key of the configuration: WEIR_OUTPUTS_LOKI_URL is
              outputs.loki.url, WEIR_OUTPUTS_ELASTICSEARCH_MAIN_INDEX is
              outputs.elasticsearch/main.index. Flags win over them, they win
              over files.
NODE_NAME     this node's name, unless the key node gives it
WEIR_STATE    the state directory for 'weir query', 'weir status' and alike
WEIR_SERVER, WEIR_TENANT, WEIR_PASSWORD, WEIR_TOKEN
              what 'weir query' asks instead of this host's store, and as whom
NO_COLOR, CLICOLOR_FORCE, TERM=dumb
              whether the terminal gets colours
${env:NAME} and ${env:NAME:-default} in a value of the configuration are
replaced by the variable, ${file:/path} by a file's content.`),
		topic("paths", "Which files and directories are used", `/var/log/pods            container logs (inputs.kubernetes.root)
/var/lib/weir            state: positions, dead letters, the store, the socket for
                         'weir ledger', 'weir status' and 'weir query' (key state)
/var/log/.weir           hard links of unread generations, with hold: {by: link}
~/.local/state/weir      state of 'weir up' ($XDG_STATE_HOME/weir); for root
                         /var/lib/weir/up`),
		topic("ports", "Which ports are used", `127.0.0.1:7410  'weir up' and 'weir store': queries and pushes as Loki has them,
                OTLP pushes, health and metrics (listen.http)
:7411           GET /healthz, /readyz and /metrics, in the manifests only
                (listen.probe)
Nothing else unless set. 'weir ledger', 'weir status' and 'weir query' use a
unix socket in the state directory that only its owner can open.`),
	}
}
