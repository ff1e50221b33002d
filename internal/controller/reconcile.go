package controller

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/translator"
)

// courtesy is how long other gateways' controllers have to speak for their objects.
const courtesy = 5 * time.Second

// managerName begins the name under which fields are managed.
const managerName = "mcp-gateway-controller"

// reconciler looks after one gateway.
type reconciler struct {
	gateway    Gateway
	options    *Options
	manager    string
	logger     *slog.Logger
	kinds      *kinds
	metrics    *metrics
	controller ctrl.Controller
	cached     client.Reader
	client     client.Client
	events     recorder.EventRecorder

	burst    burst
	contents *contents
	statuses *statuses
	problems []translator.Problem // of the last translation
	wiring   *wiring
	affected affected
	warned   string               // the last one
	held     map[string]time.Time // since when something is kept back, by key of the verdict
}

func newReconciler(g Gateway, o *Options, m manager.Manager, k *kinds, metrics *metrics) (*reconciler, error) {
	logger := o.Logger.With("gateway", g.String())
	r := &reconciler{
		gateway: g, options: o, manager: fieldManager(g), logger: logger, kinds: k, metrics: metrics,
		cached: m.GetCache(), client: m.GetClient(), events: m.GetEventRecorder(managerName),
		contents: newContents(m.GetCache(), m.GetAPIReader(), logger),
	}
	r.statuses = &statuses{client: r.client, manager: r.manager, metrics: metrics, recent: map[string]client.Object{}}
	var err error
	if r.wiring, err = newWiring(g, o, m, logger); err != nil {
		return nil, err
	}
	r.wiring.watch = r.watchFilters
	return r, nil
}

// fieldManager is a name for each gateway, so that its controller takes back what it wrote itself and nothing that another gateway's did.
func fieldManager(g Gateway) string {
	const longest = 128 // that the API server takes
	name := managerName + ":" + g.String()
	if len(name) > longest {
		sum := sha256.Sum256([]byte(g.String()))
		name = managerName + ":" + hex.EncodeToString(sum[:8])
	}
	return name
}

// Reconcile implements reconcile.Reconciler: it makes everything of the gateway what it should be.
func (r *reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if wait := r.burst.wait(); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	if !r.wiring.decided.Load() {
		return reconcile.Result{RequeueAfter: quiet}, nil
	}
	w, err := r.look(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	began := time.Now()
	out := translator.Translate(w.Input)
	took := time.Since(began)
	r.metrics.translations.WithLabelValues(r.gateway.String()).Observe(took.Seconds())
	r.report(ctx, w, &out)
	wiring := r.wire(ctx, w, &out)
	if err := r.publish(ctx, w, &out); err != nil {
		// Statuses that tell of a configuration that is not there would be no truth. Of the wiring they tell nothing.
		err = errors.Join(err, wiring)
		r.warn(w, "NotWritten", err)
		return reconcile.Result{}, err
	}
	r.warn(w, "NotWritten", wiring)
	list := r.verdicts(w, &out)
	wait := r.hold(list)
	written, err := r.statuses.write(ctx, list)
	for _, v := range written {
		r.announce(v)
		r.announceToRoute(w, v)
	}
	err = errors.Join(err, r.tellGateway(ctx, w, &out))
	r.metrics.count(r.gateway.String(), list)
	r.logger.DebugContext(ctx, "translated", "servers", len(w.MCPServers), "configured", len(out.Servers), "statuses", len(written), "took", took)
	return reconcile.Result{RequeueAfter: wait}, errors.Join(err, wiring)
}

// warn makes an event of an error, once for each.
func (r *reconciler) warn(w *world, reason string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != r.warned && text != "" && w.gateway != nil {
		r.events.Eventf(w.gateway, nil, corev1.EventTypeWarning, reason, "Write", "%s", note(text))
	}
	r.warned = text
}

// hold keeps back, for a while, what is told of objects that are attached to other gateways: only if none of their controllers speaks for them they are told that
// nobody serves their gateway, and those need a moment to do so. It returns when to look again, or 0.
func (r *reconciler) hold(list []*verdict) time.Duration {
	held := map[string]time.Time{}
	var wait time.Duration
	for _, v := range list {
		if !v.foreign || v.release || !v.changed {
			continue
		}
		since, known := r.held[v.key()]
		if !known {
			since = time.Now()
		}
		held[v.key()] = since
		if left := courtesy - time.Since(since); left > 0 {
			v.changed = false
			wait = max(wait, left)
		}
	}
	r.held = held
	return wait
}

// report tells of what is wrong with the whole, once for each change.
func (r *reconciler) report(ctx context.Context, w *world, out *translator.Output) {
	fits := 1.
	if !out.Fits {
		fits = 0
	}
	r.metrics.fits.WithLabelValues(r.gateway.String()).Set(fits)
	r.metrics.size.WithLabelValues(r.gateway.String()).Set(float64(len(out.Config)))
	for _, p := range out.Problems {
		if slices.Contains(r.problems, p) {
			continue
		}
		r.logger.ErrorContext(ctx, "problem", "reason", p.Reason, "problem", p.Message)
		if w.gateway != nil {
			r.events.Eventf(w.gateway, nil, corev1.EventTypeWarning, p.Reason, "Translate", "%s", note(p.Message))
		}
	}
	r.problems = out.Problems
}

// announce makes an event of a status whose conditions have become others.
func (r *reconciler) announce(v *verdict) {
	differs := func(c metav1.Condition) bool {
		was := meta.FindStatusCondition(v.old, c.Type)
		return was == nil || was.Status != c.Status || was.Reason != c.Reason
	}
	news := filter(v.conditions, differs)
	if v.release || len(news) == 0 {
		return
	}
	// One event for each object: what is wrong, or else that all is well.
	worst := slices.MinFunc(news, func(a, b metav1.Condition) int { return cmp.Compare(gravity(a), gravity(b)) })
	kind := corev1.EventTypeNormal
	if worst.Status == metav1.ConditionFalse && worst.Reason != v1alpha1.ReasonDisabled {
		kind = corev1.EventTypeWarning
	}
	r.events.Eventf(v.object, nil, kind, worst.Reason, "Translate", "%s: %s", worst.Type, note(worst.Message))
}

// gravity puts reasons before their consequences, and what is wrong before what is well, of which the last step counts.
func gravity(c metav1.Condition) int {
	order := slices.Index([]string{v1alpha1.ConditionAccepted, v1alpha1.ConditionResolvedRefs, v1alpha1.ConditionProgrammed, v1alpha1.ConditionReady}, c.Type)
	switch c.Status {
	case metav1.ConditionFalse:
		return order
	case metav1.ConditionUnknown:
		return 10 + order
	default:
		return 30 - order
	}
}

func (v *verdict) programmed() string {
	if c := meta.FindStatusCondition(v.conditions, v1alpha1.ConditionProgrammed); c != nil {
		return string(c.Status)
	}
	return string(metav1.ConditionUnknown)
}

// note cuts a message to what an event may have.
func note(message string) string {
	const longest = 900 // bytes, of the 1024 that the API server takes
	if len(message) <= longest {
		return message
	}
	return strings.ToValidUTF8(message[:longest], "") + "…"
}
