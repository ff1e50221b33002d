package xds_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// stubCall is a request's body in these tests: it tells the stub router what to do.
type stubCall struct {
	ID json.RawMessage `json:"id"`
	// To is the cluster to label the request with; none means no label.
	To string `json:"to,omitempty"`
	// Metadata is what policies find, besides the id.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Set are headers to set.
	Set map[string]string `json:"set,omitempty"`
	// Do is one of the constants below.
	Do string `json:"do,omitempty"`
	// Pad makes the body large.
	Pad string `json:"pad,omitempty"`
}

const (
	// replyAtHeaders, in the header doHeader, is an immediate response before the body has been seen.
	replyAtHeaders = "reply at the headers"
	// replyAfterBody is one after it, replyAtAnswer one when the answer's headers come.
	replyAfterBody = "reply after the body"
	replyAtAnswer  = "reply at the answer"
	// lingering ends the stream well after the request, when the answer is on its way already.
	lingering = "linger"
	// hanging never answers.
	hanging = "hang"
	// watching asks for the answer's headers only, rewriting for the body too, and puts every chunk into angle brackets.
	watching  = "watch"
	rewriting = "rewrite"

	doHeader = "x-test-do"
	toHeader = "x-test-to"
)

func (c stubCall) body(t *testing.T) string {
	t.Helper()
	if c.ID == nil {
		c.ID = json.RawMessage("1")
	}
	out, err := json.Marshal(c)
	require.NoError(t, err)
	return string(out)
}

// stubRouter is the least that a router can be. It ends its stream after the request.
type stubRouter struct {
	extprocv3.UnimplementedExternalProcessorServer
	over chan struct{}
}

// startRouter serves a stub on a Unix socket until the test ends and returns its address.
func startRouter(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/router.sock"
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	stub := &stubRouter{over: make(chan struct{})}
	s := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(s, stub)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		close(stub.over)
		s.Stop()
	})
	return "unix:" + path
}

func (s *stubRouter) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	var body []byte
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch v := req.GetRequest().(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			if header(v.RequestHeaders, doHeader) == replyAtHeaders {
				return stream.Send(immediate(202, `{"by":"the router"}`))
			}
			if v.RequestHeaders.GetEndOfStream() {
				return s.decide(stream, stubCall{To: header(v.RequestHeaders, toHeader)}, nil)
			}
		case *extprocv3.ProcessingRequest_RequestBody:
			body = append(body, v.RequestBody.GetBody()...)
			if v.RequestBody.GetEndOfStream() {
				var call stubCall
				if err := json.Unmarshal(body, &call); err != nil {
					return stream.Send(immediate(400, `{"by":"the router"}`))
				}
				return s.decide(stream, call, body)
			}
		default:
			return nil // an answer to what the router was never asked, such as a preflight
		}
	}
}

// decide answers the request phase.
func (s *stubRouter) decide(stream extprocv3.ExternalProcessor_ProcessServer, call stubCall, body []byte) error {
	switch call.Do {
	case replyAfterBody:
		return stream.Send(immediate(401, `{"by":"the router"}`))
	case hanging:
		select {
		case <-s.over:
		case <-stream.Context().Done():
		}
		return nil
	}
	if err := s.forward(stream, call, body); err != nil {
		return err
	}
	switch call.Do {
	case lingering:
		select {
		case <-s.over:
		case <-time.After(100 * time.Millisecond):
		}
	case replyAtAnswer:
		if _, err := stream.Recv(); err != nil {
			return err
		}
		return stream.Send(immediate(502, `{"by":"the router"}`))
	case watching, rewriting:
		return watch(stream, call.Do)
	}
	return nil
}

func (s *stubRouter) forward(stream extprocv3.ExternalProcessor_ProcessServer, call stubCall, body []byte) error {
	mutation := &extprocv3.HeaderMutation{}
	if call.To != "" {
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader(wire.HeaderCluster, call.To))
	}
	for name, value := range call.Set {
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader(name, value))
	}
	err := stream.Send(&extprocv3.ProcessingResponse{
		DynamicMetadata: call.facts(),
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{
			Response: &extprocv3.CommonResponse{HeaderMutation: mutation, ClearRouteCache: true},
		}},
	})
	if err != nil || body == nil {
		return err
	}
	return stream.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: streamed(body, true)}})
}

// watch keeps the stream open for the answer.
func watch(stream extprocv3.ExternalProcessor_ProcessServer, do string) error {
	if _, err := stream.Recv(); err != nil { // the answer's headers
		return err
	}
	err := stream.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{
		Response: &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{
			SetHeaders:    []*corev3.HeaderValueOption{setHeader("x-watched", do)},
			RemoveHeaders: []string{"content-length"},
		}},
	}}})
	if err != nil || do != rewriting {
		return err
	}
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		chunk := req.GetResponseBody()
		if chunk == nil {
			return fmt.Errorf("want a chunk of the answer's body, got %T", req.GetRequest())
		}
		mutation := &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_ClearBody{ClearBody: true}}
		if len(chunk.GetBody()) > 0 {
			mutation = &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: []byte("<" + string(chunk.GetBody()) + ">")}}
		}
		err = stream.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{
			ResponseBody: &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: mutation}},
		}})
		if err != nil || chunk.GetEndOfStream() {
			return err
		}
	}
}

func streamed(body []byte, end bool) *extprocv3.BodyResponse {
	return &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
		Mutation: &extprocv3.BodyMutation_StreamedResponse{StreamedResponse: &extprocv3.StreamedBodyResponse{Body: body, EndOfStream: end}},
	}}}
}

// facts are the dynamic metadata that the real router would set.
func (c stubCall) facts() *structpb.Struct {
	facts := map[string]*structpb.Value{}
	for k, v := range c.Metadata {
		facts[k] = structpb.NewStringValue(v)
	}
	if len(c.ID) > 0 {
		facts[wire.KeyID] = structpb.NewStringValue(string(c.ID))
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		wire.MetadataNamespace: structpb.NewStructValue(&structpb.Struct{Fields: facts}),
	}}
}

// immediate is a reply of the router's own, marked as such.
func immediate(status int32, body string) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			wire.MetadataNamespace: structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{wire.KeyReply: structpb.NewStringValue(wire.ReplyMessage)}}),
		}},
		Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{setHeader("content-type", "application/json"), setHeader("x-from", "router")}},
			Body:    []byte(body),
		}},
	}
}

func header(h *extprocv3.HttpHeaders, name string) string {
	for _, v := range h.GetHeaders().GetHeaders() {
		if v.GetKey() == name {
			return string(v.GetRawValue())
		}
	}
	return ""
}

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: strings.ToLower(name), RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
