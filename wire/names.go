package wire

// SanitizeTopic are the rules for names of Kafka topics: letters, digits and
// "-_.", at most 249 bytes, not "." or ".."; anything else in a value becomes an
// underscore.
// https://kafka.apache.org/documentation/#topicconfigs
var SanitizeTopic = newSanitizer("a topic name", nameBytes+upper, false, ".", 249)

// SanitizeObjectKey are the rules for the prefix of an object's key: letters,
// digits and "-_.=", and slashes where the configuration has them; of a value a
// slash becomes an underscore, so that no value makes a folder.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
var SanitizeObjectKey = newObjectKey()

// SanitizeSplunkIndex are the rules for names of Splunk's indexes: lower-case
// letters, digits and "-_", not beginning with one of those.
// https://docs.splunk.com/Documentation/Splunk/latest/Indexer/Setupmultipleindexes
var SanitizeSplunkIndex = newSanitizer("a Splunk index", "abcdefghijklmnopqrstuvwxyz0123456789-_", true, "-_", 80)

// SanitizeText are the rules for names that are text, written with an encoder
// of its own: printable ASCII, at most 1 024 bytes; anything else in a value
// becomes an underscore.
var SanitizeText = newSanitizer("a name", printable(), false, "", 1024)

const upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func newObjectKey() *Sanitizer {
	s := newSanitizer("an object's key", nameBytes+upper+"=", false, "/", 700)
	s.extra = "/"
	return s
}

func printable() string {
	var b []byte
	for c := byte(' '); c < 0x7f; c++ {
		b = append(b, c)
	}
	return string(b)
}
