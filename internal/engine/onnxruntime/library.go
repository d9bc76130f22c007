//go:build (linux || darwin) && (amd64 || arm64) && !static

package onnxruntime

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// supported says that this build can open the library.
const supported = true

// Places of functions in the table of the C API, which only ever grows at its end.
const (
	fnGetErrorCode               = 1
	fnGetErrorMessage            = 2
	fnCreateEnv                  = 3
	fnCreateSessionFromArray     = 8
	fnRun                        = 9
	fnCreateSessionOptions       = 10
	fnSetSessionLogSeverity      = 22
	fnSetGraphOptimizationLevel  = 23
	fnSetIntraOpNumThreads       = 24
	fnSetInterOpNumThreads       = 25
	fnSessionGetInputCount       = 30
	fnSessionGetOutputCount      = 31
	fnSessionGetInputTypeInfo    = 33
	fnSessionGetOutputTypeInfo   = 34
	fnSessionGetInputName        = 36
	fnSessionGetOutputName       = 37
	fnCreateRunOptions           = 39
	fnRunOptionsSetTerminate     = 46
	fnCreateTensor               = 48
	fnCreateTensorWithData       = 49
	fnIsTensor                   = 50
	fnGetTensorMutableData       = 51
	fnFillStringTensor           = 52
	fnGetStringTensorDataLength  = 53
	fnGetStringTensorContent     = 54
	fnCastTypeInfoToTensorInfo   = 55
	fnGetOnnxTypeFromTypeInfo    = 56
	fnGetTensorElementType       = 60
	fnGetDimensionsCount         = 61
	fnGetDimensions              = 62
	fnGetTensorShapeElementCount = 64
	fnGetTensorTypeAndShape      = 65
	fnCreateCPUMemoryInfo        = 69
	fnAllocatorFree              = 76
	fnGetDefaultAllocator        = 78
	fnReleaseStatus              = 93
	fnReleaseSession             = 95
	fnReleaseValue               = 96
	fnReleaseRunOptions          = 97
	fnReleaseTypeInfo            = 98
	fnReleaseTensorInfo          = 99
	fnReleaseSessionOptions      = 100
	functions                    = 101 // as far as the table is read
)

// onnxTensor is ONNX_TYPE_TENSOR; other values are sequences, maps, opaque, sparse and optional ones.
const onnxTensor = 1

// elementTypes are ONNXTensorElementDataType's numbers, which are those of TensorProto.DataType.
var elementTypes = map[int32]tensor.Type{1: tensor.FP32, 2: tensor.Uint8, 3: tensor.Int8, 4: tensor.Uint16, 5: tensor.Int16, 6: tensor.Int32, 7: tensor.Int64,
	8: tensor.Bytes, 9: tensor.Bool, 10: tensor.FP16, 11: tensor.FP64, 12: tensor.Uint32, 13: tensor.Uint64, 16: tensor.BF16}

var elementCodes = func() map[tensor.Type]uintptr {
	m := map[tensor.Type]uintptr{}
	for code, t := range elementTypes {
		m[t] = uintptr(code)
	}
	return m
}()

// library is an opened onnxruntime. There is one per process; it is never closed.
type library struct {
	version   string
	table     []uintptr
	env       uintptr
	memory    uintptr // describes the processor's own memory
	allocator uintptr
}

// open loads the library and makes its environment. Another version than Version is refused: the table is known for one.
func open(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, problem.New(problem.Unsupported, "The onnxruntime library cannot be opened on this machine: %s.", clip(err.Error()))
	}
	base, err := purego.Dlsym(handle, "OrtGetApiBase")
	if err != nil {
		return nil, problem.New(problem.Unsupported, "The onnxruntime library lacks OrtGetApiBase: %s.", clip(err.Error()))
	}
	at, _, _ := purego.SyscallN(base)
	if at == 0 {
		return nil, problem.New(problem.Unsupported, "The onnxruntime library gives no API.")
	}
	entry := unsafe.Slice((*uintptr)(pointer(at)), 2) // GetApi, GetVersionString
	text, _, _ := purego.SyscallN(entry[1])
	l := &library{version: cString(text)}
	if l.version != Version {
		return nil, problem.New(problem.Unsupported, "The onnxruntime library is version %s; this build works with %s: keelson runtime install onnxruntime.", clip(l.version), Version)
	}
	api, _, _ := purego.SyscallN(entry[0], apiVersion)
	if api == 0 {
		return nil, problem.New(problem.Unsupported, "The onnxruntime library %s does not know version %d of its API.", l.version, apiVersion)
	}
	l.table = unsafe.Slice((*uintptr)(pointer(api)), functions)
	name := []byte("keelson\x00")
	if err := l.call(fnCreateEnv, 3, uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&l.env))); err != nil { // 3: errors only
		return nil, err
	}
	if err := l.call(fnCreateCPUMemoryInfo, 0, 0, uintptr(unsafe.Pointer(&l.memory))); err != nil { // the device's allocator, default memory
		return nil, err
	}
	if err := l.call(fnGetDefaultAllocator, uintptr(unsafe.Pointer(&l.allocator))); err != nil {
		return nil, err
	}
	return l, nil
}

// pointer makes an address that C gave a pointer.
func pointer(at uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&at)) }

// cString copies a text that ends with a zero byte, of at most a mebibyte.
func cString(at uintptr) string {
	if at == 0 {
		return ""
	}
	p := (*byte)(pointer(at))
	n := 0
	for n < 1<<20 && *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}

// failure is an OrtStatus.
type failure struct {
	code    int32
	message string
}

func (f *failure) Error() string { return f.message }

// codeNotImplemented is the OrtErrorCode of an operator that the library lacks.
const codeNotImplemented = 9

// call calls a function of the table that answers with a status. What arguments point to stays where it is until then.
//
//go:uintptrescapes
func (l *library) call(fn int, args ...uintptr) error {
	status, _, _ := purego.SyscallN(l.table[fn], args...)
	if status == 0 {
		return nil
	}
	code, _, _ := purego.SyscallN(l.table[fnGetErrorCode], status)
	text, _, _ := purego.SyscallN(l.table[fnGetErrorMessage], status)
	f := &failure{int32(code), cString(text)}
	l.release(fnReleaseStatus, status)
	return f
}

// release calls a function of the table that answers nothing.
func (l *library) release(fn int, what uintptr) {
	if what != 0 {
		purego.SyscallN(l.table[fn], what)
	}
}

// session is a loaded model; safe for concurrent runs.
type session struct {
	l                   *library
	handle              uintptr
	inputs, outputs     []port
	inNames, outNames   [][]byte  // zero-terminated
	inPlaces, outPlaces []uintptr // their addresses
	pin                 runtime.Pinner
}

// load makes a session from the bytes of a model.
func (l *library) load(model []byte, threads int) (*session, error) {
	var options uintptr
	if err := l.call(fnCreateSessionOptions, uintptr(unsafe.Pointer(&options))); err != nil {
		return nil, err
	}
	defer l.release(fnReleaseSessionOptions, options)
	for _, set := range [][2]uintptr{{fnSetSessionLogSeverity, 3}, {fnSetGraphOptimizationLevel, 99}, {fnSetIntraOpNumThreads, uintptr(threads)}, {fnSetInterOpNumThreads, 1}} {
		if err := l.call(int(set[0]), options, set[1]); err != nil {
			return nil, err
		}
	}
	s := &session{l: l}
	if err := l.call(fnCreateSessionFromArray, l.env, uintptr(unsafe.Pointer(&model[0])), uintptr(len(model)), options, uintptr(unsafe.Pointer(&s.handle))); err != nil {
		return nil, err
	}
	var err error
	if s.inputs, s.inNames, err = s.ports("input", fnSessionGetInputCount, fnSessionGetInputName, fnSessionGetInputTypeInfo); err == nil {
		s.outputs, s.outNames, err = s.ports("output", fnSessionGetOutputCount, fnSessionGetOutputName, fnSessionGetOutputTypeInfo)
	}
	if err != nil {
		l.release(fnReleaseSession, s.handle)
		return nil, err
	}
	s.inPlaces, s.outPlaces = s.places(s.inNames), s.places(s.outNames)
	return s, nil
}

func (s *session) places(names [][]byte) []uintptr {
	out := make([]uintptr, len(names))
	for i := range names {
		s.pin.Pin(&names[i][0])
		out[i] = uintptr(unsafe.Pointer(&names[i][0]))
	}
	return out
}

// ports asks for one side of the model.
func (s *session) ports(side string, count, name, typ int) (out []port, names [][]byte, err error) {
	l := s.l
	var n uintptr
	if err := l.call(count, s.handle, uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, nil, err
	}
	for i := range n {
		var text uintptr
		if err := l.call(name, s.handle, i, l.allocator, uintptr(unsafe.Pointer(&text))); err != nil {
			return nil, nil, err
		}
		p := port{Name: cString(text)}
		if err := l.call(fnAllocatorFree, l.allocator, text); err != nil {
			return nil, nil, err
		}
		if p.Type, p.Shape, err = s.typeOf(typ, i); err != nil {
			return nil, nil, err
		}
		if p.Type == 0 {
			return nil, nil, problem.New(problem.Unsupported, "Its %s %q is not a tensor of a type the protocol has, but a map, a sequence or of another type; export the model without it.", side, clip(p.Name))
		}
		out = append(out, p)
		names = append(names, append([]byte(p.Name), 0))
	}
	return out, names, nil
}

func (s *session) typeOf(fn int, i uintptr) (t tensor.Type, shape []int, err error) {
	l := s.l
	var info, tensorInfo uintptr
	var kind int32
	if err := l.call(fn, s.handle, i, uintptr(unsafe.Pointer(&info))); err != nil {
		return 0, nil, err
	}
	defer l.release(fnReleaseTypeInfo, info)
	if err := l.call(fnGetOnnxTypeFromTypeInfo, info, uintptr(unsafe.Pointer(&kind))); err != nil || kind != onnxTensor {
		return 0, nil, err
	}
	if err := l.call(fnCastTypeInfoToTensorInfo, info, uintptr(unsafe.Pointer(&tensorInfo))); err != nil {
		return 0, nil, err
	}
	return l.shape(tensorInfo)
}

// shape reads type and dimensions; the type is 0 when the protocol has none for it.
func (l *library) shape(info uintptr) (t tensor.Type, shape []int, err error) {
	var code int32
	var rank uintptr
	if err := l.call(fnGetTensorElementType, info, uintptr(unsafe.Pointer(&code))); err != nil {
		return 0, nil, err
	}
	if err := l.call(fnGetDimensionsCount, info, uintptr(unsafe.Pointer(&rank))); err != nil {
		return 0, nil, err
	}
	if rank > 64 {
		return 0, nil, problem.New(problem.Unsupported, "A tensor has %d dimensions.", rank)
	}
	dims := make([]int64, rank+1) // one more, so that there is an address for none
	if err := l.call(fnGetDimensions, info, uintptr(unsafe.Pointer(&dims[0])), rank); err != nil {
		return 0, nil, err
	}
	shape = make([]int, rank)
	for i := range shape {
		shape[i] = int(max(dims[i], -1))
	}
	return elementTypes[code], shape, nil
}

// run computes one call. in has the types and shapes of the inputs, in their order. stop is called with what ends the
// computation early, from any goroutine, as long as run has not returned.
func (s *session) run(in []tensor.Tensor, stop func(func())) ([]tensor.Tensor, error) {
	l := s.l
	values := make([]uintptr, len(in)+1)
	outs := make([]uintptr, len(s.outputs)+1)
	defer func() {
		for _, v := range values {
			l.release(fnReleaseValue, v)
		}
		for _, v := range outs {
			l.release(fnReleaseValue, v)
		}
	}()
	keep := make([]any, len(in))
	for i := range in {
		var err error
		if values[i], keep[i], err = l.value(&in[i]); err != nil {
			return nil, err
		}
	}
	var options uintptr
	if err := l.call(fnCreateRunOptions, uintptr(unsafe.Pointer(&options))); err != nil {
		return nil, err
	}
	defer l.release(fnReleaseRunOptions, options)
	stop(func() { _ = l.call(fnRunOptionsSetTerminate, options) }) // a run that cannot be ended ends with its process
	defer stop(nil)
	err := l.call(fnRun, s.handle, options, uintptr(unsafe.Pointer(&s.inPlaces[0])), uintptr(unsafe.Pointer(&values[0])), uintptr(len(in)), uintptr(unsafe.Pointer(&s.outPlaces[0])), uintptr(len(s.outputs)), uintptr(unsafe.Pointer(&outs[0])))
	runtime.KeepAlive(keep)
	runtime.KeepAlive(in)
	if err != nil {
		return nil, err
	}
	answer := make([]tensor.Tensor, len(s.outputs))
	for i, p := range s.outputs {
		if answer[i], err = l.read(outs[i], p.Name); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// value wraps a tensor. What it gives as keep must live as long as the value.
func (l *library) value(t *tensor.Tensor) (value uintptr, keep any, err error) {
	shape := make([]int64, len(t.Shape)+1)
	for i, d := range t.Shape {
		shape[i] = int64(d)
	}
	code, ok := elementCodes[t.Type]
	if !ok {
		return 0, nil, problem.New(problem.Invalid, "onnxruntime takes no %s.", t.Type)
	}
	if t.Type == tensor.Bytes {
		return l.texts(t, shape)
	}
	var data, size uintptr
	switch {
	case t.Len() == 0:
		b := make([]uint64, 1)
		data, keep = uintptr(unsafe.Pointer(&b[0])), b
	case t.Type == tensor.FP32:
		data, size, keep = uintptr(unsafe.Pointer(&t.F32[0])), uintptr(4*len(t.F32)), t.F32
	case t.Type == tensor.FP64:
		data, size, keep = uintptr(unsafe.Pointer(&t.F64[0])), uintptr(8*len(t.F64)), t.F64
	case t.Type == tensor.Int64:
		data, size, keep = uintptr(unsafe.Pointer(&t.I64[0])), uintptr(8*len(t.I64)), t.I64
	case t.Type == tensor.Uint64:
		data, size, keep = uintptr(unsafe.Pointer(&t.U64[0])), uintptr(8*len(t.U64)), t.U64
	default:
		b := t.AppendRaw(make([]byte, 0, t.RawSize()+8))
		data, size, keep = uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), b
	}
	err = l.call(fnCreateTensorWithData, l.memory, data, size, uintptr(unsafe.Pointer(&shape[0])), uintptr(len(t.Shape)), code, uintptr(unsafe.Pointer(&value)))
	runtime.KeepAlive(keep)
	return value, keep, err
}

// texts copies strings into a value of the library's own.
func (l *library) texts(t *tensor.Tensor, shape []int64) (value uintptr, keep any, err error) {
	size := 0
	for i, s := range t.S {
		if strings.IndexByte(s, 0) >= 0 {
			return 0, nil, problem.New(problem.Invalid, "Value %d of tensor %q holds a zero byte, which ends a text in onnxruntime.", i, clip(t.Name)).At("inputs")
		}
		size += len(s) + 1
	}
	if err := l.call(fnCreateTensor, l.allocator, uintptr(unsafe.Pointer(&shape[0])), uintptr(len(t.Shape)), elementCodes[tensor.Bytes], uintptr(unsafe.Pointer(&value))); err != nil {
		return 0, nil, err
	}
	if len(t.S) == 0 {
		return value, nil, nil
	}
	all := make([]byte, 0, size)
	places := make([]uintptr, len(t.S))
	for i, s := range t.S {
		places[i] = uintptr(len(all))
		all = append(append(all, s...), 0)
	}
	var pin runtime.Pinner
	pin.Pin(&all[0])
	defer pin.Unpin()
	for i := range places {
		places[i] += uintptr(unsafe.Pointer(&all[0]))
	}
	err = l.call(fnFillStringTensor, value, uintptr(unsafe.Pointer(&places[0])), uintptr(len(places)))
	runtime.KeepAlive(all)
	return value, nil, err
}

// read copies an answer.
func (l *library) read(value uintptr, name string) (t tensor.Tensor, err error) {
	var is int32
	if err := l.call(fnIsTensor, value, uintptr(unsafe.Pointer(&is))); err != nil {
		return t, err
	}
	if is == 0 {
		return t, problem.New(problem.Unsupported, "The output %q is no tensor.", clip(name))
	}
	var info, count uintptr
	if err := l.call(fnGetTensorTypeAndShape, value, uintptr(unsafe.Pointer(&info))); err != nil {
		return t, err
	}
	defer l.release(fnReleaseTensorInfo, info)
	t.Name = name
	if t.Type, t.Shape, err = l.shape(info); err != nil {
		return t, err
	}
	if err := l.call(fnGetTensorShapeElementCount, info, uintptr(unsafe.Pointer(&count))); err != nil {
		return t, err
	}
	switch {
	case t.Type == 0:
		return t, problem.New(problem.Unsupported, "The output %q has a type that the protocol does not have.", clip(name))
	case count > maxElements:
		return t, problem.New(problem.TooLarge, "The output %q has %d values; the limit is %d.", clip(name), count, maxElements)
	case t.Type == tensor.Bytes:
		return t, l.readTexts(&t, value, count)
	}
	var data uintptr
	if err := l.call(fnGetTensorMutableData, value, uintptr(unsafe.Pointer(&data))); err != nil {
		return t, err
	}
	raw := []byte{}
	if count > 0 {
		raw = unsafe.Slice((*byte)(pointer(data)), int(count)*t.Type.Size())
	}
	if err := t.SetRaw(raw, tensor.Limits{Tensors: 1, Rank: 64, Elements: maxElements}); err != nil {
		return t, fmt.Errorf("read output %q: %w", name, err)
	}
	return t, nil
}

func (l *library) readTexts(t *tensor.Tensor, value, count uintptr) error {
	t.S = make([]string, count)
	if count == 0 {
		return nil
	}
	var size uintptr
	if err := l.call(fnGetStringTensorDataLength, value, uintptr(unsafe.Pointer(&size))); err != nil {
		return err
	}
	if size > maxAnswer {
		return problem.New(problem.TooLarge, "The texts of output %q have %d bytes; the limit is %d.", clip(t.Name), size, maxAnswer)
	}
	all := bytes.Repeat([]byte{0}, int(size)+1)
	starts := make([]uintptr, count+1)
	if err := l.call(fnGetStringTensorContent, value, uintptr(unsafe.Pointer(&all[0])), size, uintptr(unsafe.Pointer(&starts[0])), count); err != nil {
		return err
	}
	starts[count] = size
	for i := range t.S {
		if starts[i] > starts[i+1] || starts[i+1] > size {
			return fmt.Errorf("texts of output %q: places out of order", t.Name)
		}
		t.S[i] = string(all[starts[i]:starts[i+1]])
	}
	return nil
}
