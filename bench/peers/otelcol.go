package peers

// otelcol is the OpenTelemetry Collector: filelog receiver, container operator,
// file storage. otelcol/build.sh builds it.
func otelcol() Peer {
	return Peer{
		Name:     "otelcol",
		Programs: []string{"otelcol", "otelcol-contrib", "otelcol-k8s"},
		Version:  firstLine("--version"),
		Forms:    []Form{{Elastic, "gzip"}, {OTLP, "gzip"}},
		Note:     "positions are saved when a file has been read to its end; JSON members become attributes",
		Prepare: func(j Job) (Command, error) {
			path, err := j.render("otelcol/" + string(j.Form.Protocol) + ".yaml")
			return Command{Args: []string{j.Binary, "--config=file:" + path}, Files: []string{path}}, err
		},
	}
}
