//go:build race

package tree

// raced: with the race detector a pool drops some of what it is given, so allocations are not counted.
const raced = true
