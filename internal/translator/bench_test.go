package translator_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/translator"
)

// BenchmarkTranslate is a whole translation of servers with a route, a Service and a credential each, as after every change of one of them.
func BenchmarkTranslate(b *testing.B) {
	for _, servers := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			in := fleet(servers)
			b.ReportAllocs()
			var out translator.Output
			for b.Loop() {
				out = translator.Translate(in)
			}
			if len(out.Servers) != servers {
				b.Fatalf("%d of %d servers are in the configuration", len(out.Servers), servers)
			}
			b.ReportMetric(float64(len(out.Config))/float64(servers), "bytes/server")
		})
	}
}

func fleet(servers int) translator.Input {
	in := newInput()
	in.Gateways = []*gatewayv1.Gateway{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "gateways", Name: "mcp"},
		Spec: gatewayv1.GatewaySpec{Listeners: []gatewayv1.Listener{{
			Name: "mcp", Protocol: gatewayv1.HTTPProtocolType, Port: 8080,
			AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: new(gatewayv1.NamespacesFromAll)}},
		}}},
	}}
	for i := range servers {
		meta := metav1.ObjectMeta{Namespace: fmt.Sprintf("team-%d", i%50), Name: fmt.Sprintf("server-%d", i)}
		in.Services = append(in.Services, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 8080}}}})
		in.Secrets = append(in.Secrets, &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"token": []byte("a token of some length, as tokens are")}})
		in.HTTPRoutes = append(in.HTTPRoutes, &gatewayv1.HTTPRoute{ObjectMeta: meta, Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Namespace: new(gatewayv1.Namespace("gateways")), Name: "mcp"}}},
			Hostnames:       []gatewayv1.Hostname{gatewayv1.Hostname(meta.Name + ".mcp.example.com")},
			Rules: []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
				BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(meta.Name), Port: new(int32(8080))},
			}}}}},
		}})
		in.MCPServers = append(in.MCPServers, &v1alpha1.MCPServer{ObjectMeta: meta, Spec: v1alpha1.MCPServerSpec{
			TargetRef: v1alpha1.TargetReference{Name: v1alpha1.ObjectName(meta.Name)}, ToolPrefix: meta.Name + "_",
			CredentialRef: &v1alpha1.CredentialReference{Name: v1alpha1.ObjectName(meta.Name), Key: "token"},
		}})
	}
	return in
}
