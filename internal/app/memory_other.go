//go:build !linux

package app

func memory() uint64 { return 0 }
