// Package examples holds the demo's projects, so that the program can tell its story without a checkout.
package examples

import "embed"

// Files are the folders screening and referral.
//
//go:embed screening/*.py screening/keelson.yaml screening/requirements.txt screening/README.md referral
var Files embed.FS
