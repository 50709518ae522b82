package logql

import (
	"regexp"
	"sync"
)

// regexpCache remembers the expressions that templates call with, which are
// nearly always the same few. It may be used concurrently.
type regexpCache struct {
	mu sync.Mutex
	m  map[string]*regexp.Regexp
}

// maxCached bounds the cache: an expression may be made from a line.
const maxCached = 64

func newRegexpCache() *regexpCache { return &regexpCache{m: make(map[string]*regexp.Regexp)} }

func (c *regexpCache) get(s string) (*regexp.Regexp, error) {
	c.mu.Lock()
	re := c.m[s]
	c.mu.Unlock()
	if re != nil {
		return re, nil
	}
	if err := checkRegexp(s); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= maxCached {
		clear(c.m)
	}
	c.m[s] = re
	return re, nil
}
