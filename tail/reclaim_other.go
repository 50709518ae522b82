//go:build !linux

package tail

import "errors"

func writableAgain(int) (int, error)    { return -1, errors.ErrUnsupported }
func punchHole(int, int64, int64) error { return errors.ErrUnsupported }
