// Package tail reads growing log files into batches and forgets nothing about
// them until what it read is finished everywhere.
//
// # Words
//
// A chain is what one writer wrote one after the other: the log of one
// instance of a container (pod uid, container, restart), or of one plain file
// path. A chain is a list of generations, oldest first. A generation is one
// life of one log file: it begins when the file is created or truncated, keeps
// its key when the file is renamed, compressed, held by a link or found again
// after a restart, and ends when all its bytes are finished and the file is
// gone. Its key is a hash of the chain's identity and the first line, up to
// 1 KiB; inode numbers, sizes and times only help to find a file again, and
// are believed only while an open handle keeps the inode from being reused, or
// when the content agrees (the first line, and a hash of the 64 bytes before
// the position).
//
// # How it works
//
// One goroutine owns everything. Each step lists the directories that changed,
// matches the files found with the generations known, reads a quantum from
// each chain that has something, and once a second saves the positions up to
// which every output is finished, together with the counters of the ledger.
// Notifications from the kernel only make it look earlier.
//
// A chain reads its generations one after the other, so that a message which a
// rotation cut in two is joined. A generation with unread bytes keeps its
// handle open, also when the sink has no room: rotation and deletion then lose
// nothing within the bounds of Hold.
package tail
