// Package runtime installs libraries that an engine may open, from the packages in which their makers publish them.
//
// What can be installed is written down here (Packages), with the digest of every package and of the library inside it.
// A package comes from the index that pip is configured for, or from a file. Its bytes are checked before they are
// unpacked, only the named files are taken out of it, and the folder gets its name when it is whole:
//
//	<root>/onnxruntime-1.31.1/{libonnxruntime.so.1.31.1, LICENSE, ThirdPartyNotices.txt}
//
// Library hands out a library whose bytes are still those that are written down here, and nothing else. The package opens
// no library and runs nothing of what it fetches.
package runtime

import (
	"slices"
	"strings"

	"keelson/internal/problem"
)

// Package is something that can be installed.
type Package struct {
	Name    string
	Version string
	Licence string // as SPDX writes it
	Purpose string
	Wheels  []Wheel
}

// Wheel is the package for one kind of machine: a zip file of the Python package index.
type Wheel struct {
	OS, Arch string // as Go names them
	File     string
	Digest   string // sha256 of the wheel, in hex
	Size     int64  // bytes of the wheel

	Library       string // path within the wheel
	LibraryDigest string // sha256 of the library, in hex
	LibrarySize   int64
	Texts         []string // paths of the licences within the wheel
}

// texts are the licences that come with the library.
var onnxruntimeTexts = []string{"onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"}

// Packages lists what can be installed.
var Packages = []Package{{
	Name: "onnxruntime", Version: "1.31.1", Licence: "MIT", Purpose: "runs ONNX models that the Go engine cannot",
	Wheels: []Wheel{
		{OS: "linux", Arch: "amd64", File: "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
			Digest: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f", Size: 23753652,
			Library: "onnxruntime/capi/libonnxruntime.so.1.31.1", LibraryDigest: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3", LibrarySize: 29352200, Texts: onnxruntimeTexts},
		{OS: "linux", Arch: "arm64", File: "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_aarch64.whl",
			Digest: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3", Size: 21413526,
			Library: "onnxruntime/capi/libonnxruntime.so.1.31.1", LibraryDigest: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467", LibrarySize: 25265040, Texts: onnxruntimeTexts},
		{OS: "darwin", Arch: "arm64", File: "onnxruntime-1.31.1-cp311-cp311-macosx_14_0_arm64.whl",
			Digest: "60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7", Size: 20871676,
			Library: "onnxruntime/capi/libonnxruntime.1.31.1.dylib", LibraryDigest: "f8b06155feece624e55e49124340eea279da812529ae6fbc46a9f2be9c9cad2e", LibrarySize: 33037336, Texts: onnxruntimeTexts},
	},
}}

// Find gives a package by its name; "onnx" is another word for onnxruntime. It fails with problem.NotFound.
func Find(name string) (Package, error) {
	if name == "onnx" {
		name = "onnxruntime"
	}
	i := slices.IndexFunc(Packages, func(p Package) bool { return p.Name == name })
	if i < 0 {
		var names []string
		for _, p := range Packages {
			names = append(names, p.Name)
		}
		return Package{}, problem.New(problem.NotFound, "There is no runtime %q; there is %s.", name, strings.Join(names, ", "))
	}
	return Packages[i], nil
}

// wheel gives the package for a kind of machine; it fails with problem.Unsupported.
func (p Package) wheel(os, arch string) (Wheel, error) {
	for _, w := range p.Wheels {
		if w.OS == os && w.Arch == arch {
			return w, nil
		}
	}
	return Wheel{}, problem.New(problem.Unsupported, "%s %s is not published for %s on %s.", p.Name, p.Version, os, arch)
}

// States of a package here.
const (
	Installed   = "installed"
	Missing     = "missing"
	Damaged     = "damaged"     // its bytes are not those that were installed; install it again
	Unsupported = "unsupported" // there is none for this machine
)

// Status is a package and how it stands here.
type Status struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Licence string `json:"licence"`
	Purpose string `json:"purpose"`
	Path    string `json:"path,omitempty"` // of the library
	Size    int64  `json:"size,omitempty"` // bytes of the library
}
