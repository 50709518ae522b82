package tail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors of opening that say: this is not a file to read.
var (
	errNotRegular = errors.New("not a regular file")
	errOutside    = errors.New("link leads out of the allowed directories")
)

// system is the part of the operating system that tests replace to make it
// fail.
type system struct {
	openat func(dirfd int, name string, flags int) (int, error)
	pread  func(fd int, p []byte, off int64) (int, error)
	// writable returns another handle of the same file, for writing; punch makes a
	// hole.
	writable func(fd int) (int, error)
	truncate func(fd int, size int64) error
	openDir  func(path string) (*os.File, error)
	punch    func(fd int, off, n int64) error
}

func realSystem() system {
	return system{
		writable: writableAgain, punch: punchHole,
		truncate: unix.Ftruncate,
		openDir: func(path string) (*os.File, error) {
			return os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		},
		openat: func(dirfd int, name string, flags int) (int, error) {
			for {
				fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, 0)
				if err != unix.EINTR {
					return fd, err
				}
			}
		},
		pread: func(fd int, p []byte, off int64) (int, error) {
			for {
				n, err := unix.Pread(fd, p, off)
				if err != unix.EINTR {
					return n, err
				}
			}
		},
	}
}

// preadFull reads until p is full or the file ends.
func (s *system) preadFull(fd int, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := s.pread(fd, p[n:], off+int64(n))
		if err != nil {
			return n, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

// stat is what is needed of a file's status.
type stat struct {
	dev, ino uint64
	size     int64
	mtime    int64 // ns
	nlink    uint64
	mode     uint32
}

func (s *stat) regular() bool { return s.mode&unix.S_IFMT == unix.S_IFREG }

func fromUnix(st *unix.Stat_t) stat {
	return stat{
		dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mtime: st.Mtim.Nano(),
		nlink: uint64(st.Nlink), mode: uint32(st.Mode), // 16 bits on darwin
	}
}

func fstat(fd int) (stat, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return stat{}, err
	}
	return fromUnix(&st), nil
}

func lstat(path string) (stat, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return stat{}, err
	}
	return fromUnix(&st), nil
}

// openBeneath opens the regular file root/rel for reading. root may be
// whatever the configuration says it is; no component of rel may be a symbolic
// link, and nothing that could block or have effects is opened.
func (s *system) openBeneath(root, rel string) (fd int, st stat, err error) {
	dir, err := s.openat(unix.AT_FDCWD, root, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, st, fmt.Errorf("open %s: %w", root, err)
	}
	defer func() { unix.Close(dir) }()
	parts := strings.Split(filepath.Clean(rel), "/")
	for _, p := range parts {
		if p == ".." || p == "" {
			return -1, st, errOutside
		}
	}
	for _, p := range parts[:len(parts)-1] {
		next, err := s.openat(dir, p, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			if err == unix.ELOOP || err == unix.ENOTDIR {
				err = errOutside
			}
			return -1, st, fmt.Errorf("open %s in %s: %w", p, root, err)
		}
		unix.Close(dir)
		dir = next
	}
	fd, err = s.openat(dir, parts[len(parts)-1], unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY)
	if err != nil {
		switch err {
		case unix.ELOOP:
			err = errOutside
		case unix.ENXIO: // a socket, or a device that is not there
			err = errNotRegular
		}
		return -1, st, err
	}
	if st, err = fstat(fd); err == nil && !st.regular() {
		err = errNotRegular
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// beneath returns the root that path lies under and the rest of the path.
func beneath(roots []string, path string) (root, rel string, ok bool) {
	for _, r := range roots {
		if rest, found := strings.CutPrefix(path, strings.TrimSuffix(r, "/")+"/"); found && len(r) > len(root) {
			root, rel, ok = r, rest, true
		}
	}
	return root, rel, ok
}

// maxHops bounds the links followed from one name.
const maxHops = 8

// resolve follows the symbolic link at path, if it is one, and returns the
// path of what it finally names and every path on the way, path itself
// included. All of them must lie beneath the roots. Only the last component is
// followed; openBeneath refuses links elsewhere.
func resolve(roots []string, path string) (target string, way []string, err error) {
	for range maxHops {
		way = append(way, path)
		if _, _, ok := beneath(roots, path); !ok {
			return "", way, errOutside
		}
		st, err := lstat(path)
		if err != nil {
			return "", way, err
		}
		if st.mode&unix.S_IFMT != unix.S_IFLNK {
			return path, way, nil
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", way, err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = filepath.Clean(to)
	}
	return "", way, fmt.Errorf("too many links: %w", errOutside)
}
