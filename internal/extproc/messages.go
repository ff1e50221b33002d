package extproc

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func headersResponse(d *router.Decision) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{
		DynamicMetadata: metadata(d.Metadata),
		Response:        &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: labels(d)}},
	}
}

func labels(d *router.Decision) *extprocv3.CommonResponse {
	return &extprocv3.CommonResponse{
		ClearRouteCache: true,
		HeaderMutation:  &extprocv3.HeaderMutation{SetHeaders: setHeaders(d.Set), RemoveHeaders: removed(d)},
	}
}

// wantsBody lets the headers of a request wait for its body, which Envoy then sends whole.
func wantsBody() *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}},
		ModeOverride: &procv3.ProcessingMode{
			RequestHeaderMode: procv3.ProcessingMode_SEND, RequestBodyMode: procv3.ProcessingMode_BUFFERED, RequestTrailerMode: procv3.ProcessingMode_SKIP,
			ResponseHeaderMode: procv3.ProcessingMode_SKIP, ResponseBodyMode: procv3.ProcessingMode_NONE, ResponseTrailerMode: procv3.ProcessingMode_SKIP,
		},
	}
}

// bodyResponse is the decision on a request whose headers wait for its body.
func bodyResponse(d *router.Decision) *extprocv3.ProcessingResponse {
	common := labels(d)
	if d.Body != nil {
		common.BodyMutation = &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: d.Body}}
	}
	return &extprocv3.ProcessingResponse{
		DynamicMetadata: metadata(d.Metadata),
		Response:        &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: common}},
	}
}

// removed are the headers to take off, without those that are set: Envoy removes after it has set.
func removed(d *router.Decision) []string {
	if len(d.Remove) == 0 {
		return nil
	}
	names := make([]string, 0, len(d.Remove))
	for _, name := range d.Remove {
		if !d.Sets(name) {
			names = append(names, name)
		}
	}
	return names
}

func setHeaders(hs []router.Header) []*corev3.HeaderValueOption {
	// Three slabs instead of two allocations a header.
	options := make([]corev3.HeaderValueOption, len(hs))
	values := make([]corev3.HeaderValue, len(hs))
	out := make([]*corev3.HeaderValueOption, len(hs))
	for i, h := range hs {
		values[i].Key, values[i].RawValue = h.Name, []byte(h.Value)
		options[i].Header, options[i].AppendAction = &values[i], corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		out[i] = &options[i]
	}
	return out
}

func metadata(entries []router.Header) *structpb.Struct {
	if len(entries) == 0 {
		return nil
	}
	fields := make(map[string]*structpb.Value, len(entries))
	for _, e := range entries {
		fields[e.Name] = structpb.NewStringValue(e.Value)
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		wire.MetadataNamespace: structpb.NewStructValue(&structpb.Struct{Fields: fields}),
	}}
}

func requestChunk(body []byte, end bool) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{
		Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
			Mutation: &extprocv3.BodyMutation_StreamedResponse{StreamedResponse: &extprocv3.StreamedBodyResponse{Body: body, EndOfStream: end}},
		}},
	}}}
}

// responseChunk takes the place of the chunk that Envoy showed; an empty one leaves nothing of it.
func responseChunk(body []byte) *extprocv3.ProcessingResponse {
	mutation := &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: body}}
	if len(body) == 0 {
		mutation = &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_ClearBody{ClearBody: true}}
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{
		Response: &extprocv3.CommonResponse{BodyMutation: mutation},
	}}}
}

// responseHeaders lets the headers of a server's answer pass with these changes.
func responseHeaders(set []router.Header, remove ...string) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{
		Response: &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: setHeaders(set), RemoveHeaders: append(remove, wire.HeaderAnswered)}},
	}}}
}

func immediate(r *router.Reply, facts []router.Header) *extprocv3.ProcessingResponse {
	facts = append(slices.Clip(facts), router.Header{Name: wire.KeyReply, Value: r.Kind()})
	return &extprocv3.ProcessingResponse{DynamicMetadata: metadata(facts), Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(r.Status)},
		// The mark of an answer that this one takes the place of may still be there.
		Headers: &extprocv3.HeaderMutation{SetHeaders: setHeaders(r.Headers), RemoveHeaders: []string{wire.HeaderAnswered}},
		Body:    r.Body,
		Details: "mcp_gateway",
	}}}
}
