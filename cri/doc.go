// Package cri frames the log files of container runtimes into records and
// joins the pieces into which a runtime cut long lines.
//
// It knows the CRI format of containerd and CRI-O
// (https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md):
//
//	2016-10-06T00:17:09.669794202Z stdout P The content of the log entry 1
//
// the json-file format of Docker:
//
//	{"log":"The content of the log entry 1\n","stream":"stdout","time":"2016-10-06T00:17:09.669794202Z"}
//
// and plain files, one record a line. Lines end at \n only; everything else,
// a trailing \r included, belongs to the message.
//
// # What a record covers
//
// Start and End of a record are the offsets of its first byte and behind its
// last, the newline included. The records of one stream do not overlap, and
// together with skipped NUL runs and empty rests of lines they cover the file.
// Which records come out does not depend on how the file was cut into chunks,
// as long as no line is taken unfinished with Cut or End.
//
// # Joining
//
// A CRI line tagged P, or a Docker line whose log does not end in \n, is the
// beginning of a message that goes on in the next line of the same stream
// (stdout, stderr), possibly in the next generation of the file. Such parts
// wait in the Joiner, at most MaxLine bytes per stream. A part that would make
// the message longer begins a new piece: what waits is emitted flagged
// Partial, what follows is flagged Continued. A part that alone is longer than
// MaxLine is cut every MaxLine bytes and joined with nothing.
//
// # Records of several messages
//
// With Config.Multiline messages of a stream that belong together, such as the
// lines of a stack trace, become one record, their bodies joined by \n. A record
// that may go on is held back in the Joiner until the next message of its stream
// comes, or Due and FlushDue say that none will: no bytes are consumed twice, and
// its beginning is in the State as that of a message in parts is, so that a
// restart makes the same record of the same bytes. A record that would exceed its
// limits is cut between two messages: what waits is flagged Partial, what follows
// Continued.
//
// # Odd lines
//
// Nothing is dropped for its form. A line that is not of the expected format
// becomes a record whose body is the whole line, flagged ParseError.
package cri
