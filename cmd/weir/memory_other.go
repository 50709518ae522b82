//go:build !linux

package main

// releaseCode has nothing to do where the kernel is not Linux.
func releaseCode() {}
