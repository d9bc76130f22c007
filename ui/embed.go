//go:build ui

package ui

import (
	"embed"
	"io/fs"
)

// dist is what `npm run build` leaves: index.html, assets with hashed names and
// their .br and .gz twins.
//
//go:embed all:dist
var dist embed.FS

// FS returns the files of the interface, index.html at the root, and true when
// they are the built interface rather than the placeholder page.
func FS() (fs.FS, bool) {
	sub, err := fs.Sub(dist, "dist")
	if err != nil { // the name is a constant and valid, so this cannot happen
		panic(err)
	}
	return sub, true
}
