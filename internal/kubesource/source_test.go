package kubesource_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
	"github.com/guicassolato/mcp-gateway/internal/kubesource"
)

// patience is for what takes as long as the machine is busy.
const patience = 2 * time.Minute

// heard is what a source has told, one entry for each call.
type heard struct {
	mu   sync.Mutex
	told []string
}

func (h *heard) say(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, fmt.Sprintf(format, args...))
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told)
}

// await waits for the newest thing that was told.
func (h *heard) await(t *testing.T, limit time.Duration, want string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		all := h.all()
		if len(all) > 0 && strings.Contains(all[len(all)-1], want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %q; told was %q", limit, want, all)
		}
		<-tick.C
	}
}

// follow runs a source until the test ends.
func follow(t *testing.T, s *kubesource.Source) *heard {
	t.Helper()
	h := &heard{}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		s.Run(ctx, config.WatchOptions{
			OnChange: func(cfg *config.Config) {
				text := "taken:"
				for _, server := range cfg.Servers {
					text += " " + server.Name
					if server.Credential != nil {
						text += "=" + server.Credential.Value.Reveal()
					}
				}
				h.say("%s", text)
			},
			OnError:   func(err error) { h.say("refused: %v", err) },
			OnRecover: func() { h.say("recovered") },
		})
	})
	t.Cleanup(func() { stop(); running.Wait() })
	return h
}

func server(name, credential string) string {
	text := "  - name: " + name + "\n    url: http://" + name + ".example.com\n"
	if credential != "" {
		text += "    credential: {file: " + credential + "}\n"
	}
	return text
}

// written are the three objects of a configuration.
type written struct {
	t         *testing.T
	c         client.Client
	namespace string
}

func (w *written) config(digest, text string) {
	w.t.Helper()
	w.put(&corev1.ConfigMap{ObjectMeta: w.named("mcp-gateway-config", digest), Data: map[string]string{"config.yaml": text}})
}

func (w *written) rest(digest string, credentials map[string]string) {
	w.t.Helper()
	w.put(&corev1.ConfigMap{ObjectMeta: w.named("mcp-gateway-certificates", digest)})
	w.put(&corev1.Secret{ObjectMeta: w.named("mcp-gateway-credentials", digest), StringData: credentials})
}

func (w *written) named(name, digest string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: w.namespace, Name: name}
	if digest != "" {
		m.Annotations = map[string]string{"mcp.kagenti.com/config-digest": digest}
	}
	return m
}

func (w *written) put(object client.Object) {
	w.t.Helper()
	err := w.c.Create(w.t.Context(), object)
	if err != nil {
		err = w.c.Update(w.t.Context(), object)
	}
	require.NoError(w.t, err)
}

func TestSource(t *testing.T) {
	cluster := k8stest.Start(t)
	begin := func(t *testing.T, namespace string) (*written, *heard) {
		t.Helper()
		require.NoError(t, cluster.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
		names, err := kubesource.ParseNames(namespace + "/mcp-gateway-config")
		require.NoError(t, err)
		allowOnly(t, cluster, names)
		s, err := kubesource.NewSource(cluster.As(namespace+"-reader"), names, slog.New(slog.NewTextHandler(t.Output(), nil)))
		require.NoError(t, err)
		return &written{t: t, c: cluster.Client, namespace: namespace}, follow(t, s)
	}

	t.Run("life", func(t *testing.T) {
		w, h := begin(t, "life")
		h.await(t, patience, `refused: the ConfigMap "life/mcp-gateway-config" does not exist: does the controller run, and for this gateway?`)
		w.config("", "servers:\n"+server("a", ""))
		h.await(t, patience, "taken: a")
		w.config("", "servers:\n"+server("b", ""))
		h.await(t, patience, "taken: b")
		w.config("", "servers:\n  - nam: c\n    url: d\n")
		h.await(t, patience, "life/mcp-gateway-config/config.yaml:2:5: servers[0].nam: unknown key")
		w.config("", "# the same again\nservers:\n"+server("b", ""))
		h.await(t, patience, "recovered")
		require.NoError(t, w.c.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: w.named("mcp-gateway-config", "")}))
		h.await(t, patience, "does not exist")
		w.config("", "servers: []\n")
		h.await(t, patience, "taken:")
		assert.Len(t, h.all(), 7, "nothing is told twice")
	})

	t.Run("credentials", func(t *testing.T) {
		w, h := begin(t, "credentials")
		w.rest("", map[string]string{"one": "first"})
		w.config("", "servers:\n"+server("a", "credentials/one"))
		h.await(t, patience, "taken: a=first")
		w.rest("", map[string]string{"one": "second"})
		h.await(t, patience, "taken: a=second")
		w.config("", "servers:\n"+server("a", "credentials/two"))
		h.await(t, patience, `is not there: the Secret "credentials/mcp-gateway-credentials" has no key "two"`)
	})

	t.Run("written in pieces", func(t *testing.T) {
		w, h := begin(t, "pieces")
		w.rest("1", map[string]string{"one": "x"})
		w.config("1", "servers:\n"+server("a", "credentials/one"))
		h.await(t, patience, "taken: a=x")
		w.rest("2", map[string]string{"two": "y"}) // what the old configuration refers to is gone
		w.config("2", "servers:\n"+server("a", "credentials/two"))
		h.await(t, patience, "taken: a=y")
		assert.NotContains(t, strings.Join(h.all(), "\n"), "has no key", "no half of a writing is read")
		w.rest("3", map[string]string{"two": "z"}) // the configuration never follows
		h.await(t, patience, "taken: a=z")
	})

	t.Run("nothing else can be read", func(t *testing.T) {
		t.Setenv("SECRET_OF_THE_PROCESS", "s3cret")
		w, h := begin(t, "else")
		w.config("", "servers:\n"+server("a", "/etc/hostname")+"  - name: b\n    url: http://b.example.com\n    credential: {env: SECRET_OF_THE_PROCESS}\n")
		h.await(t, patience, "may name files in credentials/ and certificates/ only")
		h.await(t, patience, `"SECRET_OF_THE_PROCESS" is not set`)
	})

	t.Run("API server restarted", func(t *testing.T) {
		w, h := begin(t, "again")
		w.config("", "servers:\n"+server("a", ""))
		h.await(t, patience, "taken: a")
		told := len(h.all())
		cluster.StopAPIServer(t)
		cluster.StartAPIServer(t)
		w.config("", "servers:\n"+server("b", ""))
		h.await(t, patience, "taken: b")
		assert.Len(t, h.all(), told+1, "an API server that is away is no bad configuration")
	})
}

// allowOnly lets a user do what the broker may do with its configuration, and nothing else.
func allowOnly(t *testing.T, cluster *k8stest.Cluster, n kubesource.Names) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: n.Namespace, Name: "reader"}
	verbs := []string{"get", "list", "watch"}
	require.NoError(t, cluster.Client.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{n.Config, n.Certificates}, Verbs: verbs},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{n.Credentials}, Verbs: verbs},
	}}))
	require.NoError(t, cluster.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: n.Namespace + "-reader"}},
	}))
}
