// Package ui holds the web interface as files for the server to hand out.
//
// The interface is built with Node (`npm ci && npm run build` in this folder)
// and embedded with the build tag "ui". Without the tag a single placeholder
// page takes its place, so that working on the Go code needs no Node.
//
// Files under assets/ have hashed names and never change. Each compressible
// file has a .br and a .gz twin made at build time. The pages need no inline
// script and no other host: Policy is the header they are tested with.
package ui

// Policy is the Content-Security-Policy the interface works under. Styles may
// be inline because the component kit writes its theme variables into a style
// element; scripts may not.
const Policy = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data:; font-src 'self'; connect-src 'self'; object-src 'none'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
