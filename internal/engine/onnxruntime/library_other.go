//go:build !(linux || darwin) || !(amd64 || arm64) || static

package onnxruntime

import (
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

const supported = false

type library struct{ version string }

type session struct{ inputs, outputs []port }

type failure struct {
	code    int32
	message string
}

func (f *failure) Error() string { return f.message }

const codeNotImplemented = 9

func open(string) (*library, error) {
	return nil, problem.New(problem.Unsupported, "This build has no onnxruntime engine; it needs one for Linux or macOS on amd64 or arm64, made without the build tag static.")
}

func (*library) load([]byte, int) (*session, error) { return nil, nil }

func (*session) run([]tensor.Tensor, func(func())) ([]tensor.Tensor, error) { return nil, nil }
