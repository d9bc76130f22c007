//go:build !ui

package ui

import (
	"embed"
	"io/fs"
)

// placeholder is one page that says how to build the interface.
//
//go:embed placeholder
var placeholder embed.FS

// FS returns the files of the interface, index.html at the root, and true when
// they are the built interface rather than the placeholder page.
func FS() (fs.FS, bool) {
	sub, err := fs.Sub(placeholder, "placeholder")
	if err != nil { // the name is a constant and valid, so this cannot happen
		panic(err)
	}
	return sub, false
}
