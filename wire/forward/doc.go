// Package forward reads and writes the Fluentd Forward Protocol, version 1: the
// messages (Decoder: Message, Forward, PackedForward and CompressedPackedForward
// modes; Encoder), their boundaries in a stream (Framer), and the handshake with
// a shared key (Hello, Ping, Pong). It does no input and output.
// https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
//
// # What a record becomes
//
//	log, else message, msg, MESSAGE   the body, byte for byte, if it is text
//	kubernetes                        the Stream, by the names that Fluent Bit's and
//	                                  Fluentd's metadata filters write
//	stream = stdout, stderr           the Stream's stream; as source beside
//	                                  container_id, which docker sends
//	container_id, container_name      the Stream's, where docker sent them
//	the tag                           the Stream's attribute tag
//	weir_id, weir                     what the Encoder wrote: id, flags, attributes
//	level, severity …                 the severity (stage.NamedLevel); it stays a field
//	everything else                   fields: maps flattened with underscores
//	                                  between the names, arrays as JSON
//
// A record without text, or with more fields than the limits allow, is kept whole
// as the JSON object that it is: that is its body then. The protocol has no word
// for a refused record, so nothing is left out but what is no record at all.
//
// Docker cuts a line of more than 16 KiB into messages (partial_message,
// partial_id, partial_ordinal, partial_last). They are joined again where the
// sender does not ask for acknowledgements; where it does it sends a piece only
// when the one before is acknowledged, so that each becomes a record of its own,
// flagged partial and continued.
package forward
