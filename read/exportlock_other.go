//go:build !unix

package read

import "os"

func lockFile(*os.File) error { return nil }
