package istio_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// said is a request's body where the stub is the router: what the router is to say of it.
type said struct {
	ID    int               `json:"id"`
	Facts map[string]string `json:"facts"`
}

// stubRouter says of each request what its body asks for, and leads it to the broker.
type stubRouter struct {
	extprocv3.UnimplementedExternalProcessorServer
}

// startStubs takes the places of router and broker.
func (w *world) startStubs(t *testing.T) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", w.router)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(s, &stubRouter{})
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	broker := testbed.Serve(t, w.broker, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get(wire.HeaderToken) != "" {
			http.Error(rw, "the token went on", http.StatusTeapot)
			return
		}
		_, _ = io.WriteString(rw, "done")
	}))
	t.Cleanup(func() { _ = broker.Close() })
}

// Process implements the service.
func (*stubRouter) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	var authorization string
	var body []byte
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // Envoy has gone
		}
		switch v := req.GetRequest().(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			for _, h := range v.RequestHeaders.GetHeaders().GetHeaders() {
				if h.GetKey() == "authorization" {
					authorization = string(h.GetRawValue())
				}
			}
		case *extprocv3.ProcessingRequest_RequestBody:
			if body = append(body, v.RequestBody.GetBody()...); v.RequestBody.GetEndOfStream() {
				return decide(stream, authorization, body)
			}
		default:
			return nil
		}
	}
}

// decide says what the body asks for.
func decide(stream extprocv3.ExternalProcessor_ProcessServer, authorization string, body []byte) error {
	var s said
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	facts := map[string]any{wire.KeyID: "1"}
	for k, v := range s.Facts {
		facts[k] = v
	}
	metadata, err := structpb.NewStruct(map[string]any{wire.MetadataNamespace: facts})
	if err != nil {
		return err
	}
	mutation := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{setHeader(wire.HeaderCluster, wire.BrokerCluster)}}
	if token, ok := strings.CutPrefix(authorization, "Bearer "); ok {
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader(wire.HeaderToken, token))
	}
	err = stream.Send(&extprocv3.ProcessingResponse{
		DynamicMetadata: metadata,
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{
			Response: &extprocv3.CommonResponse{HeaderMutation: mutation, ClearRouteCache: true},
		}},
	})
	if err != nil {
		return err
	}
	return stream.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{
		Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
			StreamedResponse: &extprocv3.StreamedBodyResponse{Body: body, EndOfStream: true},
		}}},
	}}})
}

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
