package oip

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"keelson/internal/oip/inference"
)

// The gRPC library answers a message that it cannot read with INTERNAL, and on a stream has sent that before a handler
// hears of it. Here it is the caller's mistake: the codec never fails but notes what is wrong in the letter that the
// message comes in, and whoever opens the letter gets INVALID_ARGUMENT. Frames that are none are the library's affair
// (INTERNAL, as gRPC's specification says; RESOURCE_EXHAUSTED when too large).

// letter is a message to be read, with what was wrong with it.
type letter struct {
	message any
	damage  error
}

// opened gives the mistake of the caller, or that of the library.
func (l *letter) opened(err error) error {
	if err != nil || l.damage == nil {
		return err
	}
	kind := "message"
	if m, ok := l.message.(proto.Message); ok {
		kind = string(m.ProtoReflect().Descriptor().Name())
	}
	return status.Error(codes.InvalidArgument, fmt.Sprintf("The bytes sent are no whole %s: %s.", kind, l.damage))
}

// codec is the library's own for protobuf, for letters.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(protocodec.Name)} }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	l, ok := v.(*letter)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	l.damage = c.CodecV2.Unmarshal(data, l.message)
	return nil
}

// letters is the protocol's service with each message in a letter.
func letters() *grpc.ServiceDesc {
	desc := inference.GRPCInferenceService_ServiceDesc
	desc.Methods = append([]grpc.MethodDesc(nil), desc.Methods...)
	for i := range desc.Methods {
		handle := desc.Methods[i].Handler
		desc.Methods[i].Handler = func(srv any, ctx context.Context, dec func(any) error, between grpc.UnaryServerInterceptor) (any, error) {
			return handle(srv, ctx, func(m any) error {
				l := letter{message: m}
				return l.opened(dec(&l))
			}, between)
		}
	}
	desc.Streams = append([]grpc.StreamDesc(nil), desc.Streams...)
	for i := range desc.Streams {
		handle := desc.Streams[i].Handler
		desc.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error { return handle(srv, letterbox{stream}) }
	}
	return &desc
}

// letterbox is a stream whose messages come in letters.
type letterbox struct{ grpc.ServerStream }

func (b letterbox) RecvMsg(m any) error {
	l := letter{message: m}
	return l.opened(b.ServerStream.RecvMsg(&l))
}
