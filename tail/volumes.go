package tail

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

// Volume is a directory that belongs to a pod, and which of its files are logs. The
// pod's containers may change everything in it at any time: nothing beneath Dir is
// followed that is a symbolic link.
type Volume struct {
	// Dir is the directory as the host knows it; what leads to it is trusted.
	Dir string
	// Globs are patterns of files beneath Dir, as in filepath.Match for each part.
	Globs []string
	// Container names the pod and the container that writes them, and Volume: it is
	// what Describe gets for each file, with Path and File filled in.
	Container Container
}

// scanVolumes looks for files in the volumes of pods.
func (in *Input) scanVolumes(all bool) {
	if v := in.version; in.volumes == nil || all || v != in.volumesOf {
		in.volumes, in.volumesOf = in.cfg.Volumes(), v
	}
	for i := range in.volumes {
		v := &in.volumes[i]
		for _, glob := range v.Globs {
			in.scanVolume(v, glob)
		}
	}
}

func (in *Input) scanVolume(v *Volume, glob string) {
	in.walk(v.Dir, strings.Split(glob, "/"), func(path string) {
		base, _, ok := splitRotated(filepath.Base(path))
		if !ok {
			return
		}
		live := filepath.Join(filepath.Dir(path), base)
		st, err := lstat(path)
		if err == nil && !st.regular() {
			if !in.refused[path] {
				in.refused[path] = true
				in.scanError(path, errNotRegular)
				in.refuse(v, path, "it is not a regular file")
			}
			return
		}
		k := v.Container
		k.Path = live
		k.File = strings.TrimPrefix(live, v.Dir+"/")
		in.register(k, live)
	})
}

// volumeDir returns the directory that the file of a volume must lie beneath.
func (k Container) volumeDir() string { return strings.TrimSuffix(k.Path, "/"+k.File) }

// walk calls f for everything beneath dir that fits the parts of a pattern, and goes
// through no symbolic link.
func (in *Input) walk(dir string, parts []string, f func(path string)) {
	fd, err := in.sys.openDir(dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			in.scanError(dir, err)
		}
		return
	}
	entries, err := fd.ReadDir(-1)
	_ = fd.Close() // read only
	if err != nil {
		in.scanError(dir, err)
		return
	}
	for _, e := range entries {
		if ok, err := filepath.Match(parts[0], e.Name()); !ok || err != nil {
			// A rotated file's name need not fit; its live one does.
			if len(parts) > 1 {
				continue
			}
			base, _, rotated := splitRotated(e.Name())
			if ok, err := filepath.Match(parts[0], base); !rotated || !ok || err != nil {
				continue
			}
		}
		path := filepath.Join(dir, e.Name())
		switch {
		case len(parts) == 1:
			f(path)
		case e.IsDir():
			in.walk(path, parts[1:], f)
		}
	}
}

// Fits reports whether a file, or what it was before a rotation, fits a pattern of a
// Volume.
func Fits(glob, file string) bool {
	ok, err := filepath.Match(glob, file) // an asterisk takes no slash
	return ok && err == nil
}

// refuse tells that a file of a volume is not read.
func (in *Input) refuse(v *Volume, path, why string) {
	if in.cfg.Refused != nil {
		in.cfg.Refused(v.Container, strings.TrimPrefix(path, v.Dir+"/"), why)
	}
}

// volumeUID is what the folder of a pod may be called.
var volumeUID = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)
var volumeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// EmptyDir returns the directory of a pod's emptyDir beneath kubelet's directory of
// pods, "" if a name cannot be one.
func EmptyDir(pods, uid, volume string) string {
	if !volumeUID.MatchString(uid) || !volumeName.MatchString(volume) {
		return ""
	}
	return filepath.Join(pods, uid, "volumes", "kubernetes.io~empty-dir", volume)
}
