package main

import (
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/cri"
)

// joining returns which lines of files belong together, nil if none do. What cannot
// be was refused when the configuration was loaded.
func joining(m *config.Multiline) *cri.Multiline {
	j, err := m.Joining()
	if err != nil {
		return nil
	}
	return j
}
