package controller

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/guicassolato/mcp-gateway/internal/translator"
)

const (
	// AnnotationDigest is on all that is written for one configuration, and the same on all: what differs is still being written.
	AnnotationDigest = "mcp.kagenti.com/config-digest"
	// AnnotationGateway names the Gateway that something was written for.
	AnnotationGateway = "mcp.kagenti.com/gateway"

	labelManagedBy = "app.kubernetes.io/managed-by"
)

func outputNames() []string {
	return []string{ConfigName, CertificatesName, CredentialsName, SessionKeyName}
}

// output names an object that is written for the gateway.
func (r *reconciler) output(kind, name string) ref {
	return ref{kind, types.NamespacedName{Namespace: r.gateway.Output, Name: name}}
}

// publish writes what the broker and router read. The configuration comes last: what it refers to is then there.
func (r *reconciler) publish(ctx context.Context, w *world, out *translator.Output) error {
	if err := r.ensureSessionKey(ctx, w); err != nil {
		return err
	}
	if !out.Fits {
		return nil
	}
	credentials := make(map[string][]byte, len(out.Credentials))
	for key, value := range out.Credentials {
		credentials[key] = []byte(value.Reveal())
	}
	for _, o := range []struct {
		ref
		data map[string][]byte
	}{
		{r.output(kindSecret, CredentialsName), credentials},
		{r.output(kindConfigMap, CertificatesName), out.Certificates},
		{r.output(kindConfigMap, ConfigName), map[string][]byte{ConfigKey: out.Config}},
	} {
		if err := r.publishOne(ctx, w.contents[o.ref], o.ref, o.data, out.Digest); err != nil {
			return err
		}
	}
	return nil
}

// publishOne writes an object unless it is what it should be.
func (r *reconciler) publishOne(ctx context.Context, is client.Object, key ref, data map[string][]byte, digest string) error {
	annotations := map[string]string{AnnotationDigest: digest, AnnotationGateway: r.gateway.String()}
	if is != nil {
		if other := is.GetAnnotations()[AnnotationGateway]; other != "" && other != r.gateway.String() {
			return fmt.Errorf("the %s %q is the Gateway %q's, and %q cannot have it too: give each Gateway a namespace of its own for its broker", key.kind, key.NamespacedName, other, r.gateway)
		}
		if sameData(dataOf(is), data) && contains(is.GetAnnotations(), annotations) {
			return nil
		}
	}
	object := toUnstructured(key, data)
	object.SetAnnotations(annotations)
	object.SetLabels(map[string]string{labelManagedBy: managerName})
	if err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(r.manager), client.ForceOwnership); err != nil {
		return fmt.Errorf("write the %s %q: %w", key.kind, key.NamespacedName, err)
	}
	r.metrics.writes.WithLabelValues(key.kind).Inc()
	r.logger.InfoContext(ctx, "written", "kind", key.kind, "name", key.String(), "keys", len(data), "digest", digest)
	written := newObject(key.kind)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, written); err != nil {
		return fmt.Errorf("read the %s %q as it was written: %w", key.kind, key.NamespacedName, err)
	}
	r.contents.wrote(key, written)
	return nil
}

func toUnstructured(key ref, data map[string][]byte) *unstructured.Unstructured {
	values := make(map[string]any, len(data))
	for name, value := range data {
		if key.kind == kindSecret {
			values[name] = base64.StdEncoding.EncodeToString(value)
		} else {
			values[name] = string(value)
		}
	}
	object := &unstructured.Unstructured{Object: map[string]any{"data": values}}
	object.SetGroupVersionKind(metadataOf(key.kind).GroupVersionKind())
	object.SetNamespace(key.Namespace)
	object.SetName(key.Name)
	return object
}

func dataOf(object client.Object) map[string][]byte {
	switch o := object.(type) {
	case *corev1.Secret:
		return o.Data
	case *corev1.ConfigMap:
		data := make(map[string][]byte, len(o.Data)+len(o.BinaryData))
		maps.Copy(data, o.BinaryData)
		for key, value := range o.Data {
			data[key] = []byte(value)
		}
		return data
	}
	return nil
}

func sameData(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, func(x, y []byte) bool { return string(x) == string(y) })
}

func contains(all, some map[string]string) bool {
	for key, value := range some {
		if all[key] != value {
			return false
		}
	}
	return true
}

// ensureSessionKey makes the key that replicas of the gateway share, once. It is never written again: open sessions would end (Invariant 4).
func (r *reconciler) ensureSessionKey(ctx context.Context, w *world) error {
	key := r.output(kindSecret, SessionKeyName)
	if w.contents[key] != nil {
		return nil
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: key.Namespace, Name: key.Name,
		Labels: map[string]string{labelManagedBy: managerName}, Annotations: map[string]string{AnnotationGateway: r.gateway.String()},
	}}
	// Text of 52 characters with 256 bits.
	secret.Data = map[string][]byte{SessionKeyKey: []byte(rand.Text() + rand.Text())}
	switch err := r.client.Create(ctx, secret, client.FieldOwner(r.manager)); {
	case apierrors.IsAlreadyExists(err):
		return nil
	case err != nil:
		return fmt.Errorf("write the Secret %q: %w", key.NamespacedName, err)
	}
	r.metrics.writes.WithLabelValues(key.kind).Inc()
	r.logger.InfoContext(ctx, "session key made", "name", key.String())
	r.contents.wrote(key, secret)
	return nil
}
