package tail

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parsePodDir splits the name of a directory under /var/log/pods,
// <namespace>_<pod>_<uid>. Neither part may hold an underscore.
func parsePodDir(name string) (ns, pod, uid string, ok bool) {
	p := strings.Split(name, "_")
	if len(p) != 3 || p[0] == "" || p[1] == "" || p[2] == "" {
		return "", "", "", false
	}
	return p[0], p[1], p[2], true
}

// parseContainerLink splits the name of a link under /var/log/containers,
// <pod>_<namespace>_<container>-<64 hexadecimal digits>.log.
func parseContainerLink(name string) (ns, pod, container, id string, ok bool) {
	rest, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return "", "", "", "", false
	}
	p := strings.Split(rest, "_")
	if len(p) != 3 {
		return "", "", "", "", false
	}
	n := len(p[2]) - 65
	if p[0] == "" || p[1] == "" || n < 1 || p[2][n] != '-' {
		return "", "", "", "", false
	}
	id = p[2][n+1:]
	if strings.Trim(id, "0123456789abcdef") != "" {
		return "", "", "", "", false
	}
	return p[1], p[0], p[2][:n], id, true
}

// parseRestart returns the restart count of a file <n>.log.
func parseRestart(base string) (int, bool) {
	digits, ok := strings.CutSuffix(base, ".log")
	if !ok || digits == "" || len(digits) > 9 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// sibling is a file of a chain: the live one or one that rotation left.
type sibling struct {
	name string
	gz   bool
	// rank orders rotated files: 0 live, 1 dated, 2 numbered (the higher the
	// number, the older).
	rank int
	num  int
	date string
}

var rotated = regexp.MustCompile(`^(?:\.(\d{1,5})|[.-](\d{4}-?\d\d-?\d\d[0-9T_:.-]*|\d{6,14}))?(\.gz)?$`)

// splitRotated splits a file name into the name the file had when it was live
// and what rotation did to it. Names that rotation did not touch are their own
// base. Temporary files have none (ok is false).
func splitRotated(name string) (base string, s sibling, ok bool) {
	s.name = name
	if strings.HasSuffix(name, ".tmp") {
		return "", s, false
	}
	// The suffix is short; look for the leftmost separator that fits.
	for i := 1; i < len(name); i++ {
		if name[i] != '.' && name[i] != '-' {
			continue
		}
		m := rotated.FindStringSubmatch(name[i:])
		if m == nil {
			continue
		}
		s.gz = m[3] != ""
		switch {
		case m[1] != "":
			s.rank = 2
			s.num, _ = strconv.Atoi(m[1])
		case m[2] != "":
			s.rank = 1
			s.date = m[2]
		}
		return name[:i], s, true
	}
	return name, s, true
}

// sortSiblings puts a chain's files in order, the oldest first.
func sortSiblings(s []sibling) {
	slices.SortFunc(s, func(a, b sibling) int {
		return cmp.Or(
			cmp.Compare(b.rank, a.rank),
			cmp.Compare(b.num, a.num),
			strings.Compare(a.date, b.date),
			strings.Compare(a.name, b.name),
		)
	})
}
