package peers

import "errors"

// fluentBit is Fluent Bit: tail with the multiline parser cri.
func fluentBit() Peer {
	return Peer{
		Name:     "fluent-bit",
		Programs: []string{"fluent-bit"},
		Version:  firstLine("--version"),
		Forms:    []Form{{JSONL, "gzip"}, {Elastic, "gzip"}, {Loki, "gzip"}},
		Note:     "Loki in JSON, not protobuf",
		Prepare: func(j Job) (Command, error) {
			path, err := j.render("fluentbit/" + string(j.Form.Protocol) + ".conf")
			input, err2 := j.render("fluentbit/input.conf")
			_, err3 := j.render("fluentbit/parsers.conf")
			return Command{Args: []string{j.Binary, "-c", path}, Files: []string{input, path}}, errors.Join(err, err2, err3)
		},
	}
}
