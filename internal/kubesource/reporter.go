package kubesource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

const (
	// LeaseName is what the replicas of a gateway elect by who writes statuses.
	LeaseName = "mcp-gateway-broker"

	managerName = "mcp-gateway-broker"

	// pace is the least time between two passes over all statuses.
	pace = 250 * time.Millisecond
	// parallel bounds how many statuses are written at once.
	parallel = 8

	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// ReporterOptions are what a Reporter needs to know.
type ReporterOptions struct {
	Cluster *rest.Config
	// Names are those of the configuration: statuses are written of the servers in it.
	Names Names
	// Namespaces limits whose MCPServers are looked at; none means all.
	Namespaces []string
	// Identity is this replica's name, different from all others'.
	Identity string
	// Snapshot is nil as long as no configuration has been taken.
	Snapshot func() *catalog.Snapshot
	Logger   *slog.Logger
}

// Reporter writes into the statuses of MCPServers what the gateway knows of them, if it leads.
type Reporter struct {
	ReporterOptions

	manager string
	changed chan struct{}
	client  client.Client
	lock    resourcelock.Interface

	// recent belongs to who leads: objects as they were written, as long as memory has older ones.
	recent map[client.ObjectKey]*v1alpha1.MCPServer
}

// NewReporter prepares a reporter; Run begins.
func NewReporter(o ReporterOptions) (*Reporter, error) {
	o.Cluster = rest.AddUserAgent(rest.CopyConfig(o.Cluster), userAgent)
	if o.Cluster.QPS == 0 {
		o.Cluster.QPS = -1 // what is written at once is bounded by parallel
	}
	r := &Reporter{ReporterOptions: o, manager: fieldManager(o.Names), changed: make(chan struct{}, 1), recent: map[client.ObjectKey]*v1alpha1.MCPServer{}}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	if r.client, err = client.New(o.Cluster, client.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("the API server: %w", err)
	}
	leases, err := kubernetes.NewForConfig(o.Cluster)
	if err != nil {
		return nil, fmt.Errorf("the API server: %w", err)
	}
	r.lock = &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: o.Names.Namespace, Name: LeaseName}, Client: leases.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: o.Identity},
	}
	return r, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("kinds: %w", err)
	}
	return scheme, nil
}

// fieldManager is another one for each gateway, so that one takes back what it wrote itself and nothing that another one did.
func fieldManager(n Names) string {
	const longest = 128 // that the API server takes
	name := managerName + ":" + n.String()
	if len(name) > longest {
		sum := sha256.Sum256([]byte(n.String()))
		name = managerName + ":" + hex.EncodeToString(sum[:8])
	}
	return name
}

// Changed says that there may be a new snapshot.
func (r *Reporter) Changed() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Run writes statuses whenever this replica leads, until the context ends.
func (r *Reporter) Run(ctx context.Context) {
	logger := logr.FromSlogHandler(r.Logger.Handler())
	log.SetLogger(logger) // controller-runtime has one for the process
	ctx = logr.NewContext(ctx, logger)
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: r.lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: r.lead, OnStoppedLeading: func() {}},
		})
		if err != nil {
			r.Logger.ErrorContext(ctx, "no statuses are written", "error", err)
			return
		}
		elector.Run(ctx)
		pause(ctx, firstRetry)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// lead writes statuses until the context ends.
func (r *Reporter) lead(ctx context.Context) {
	r.Logger.InfoContext(ctx, "this replica writes the statuses of MCPServers", "lease", r.Names.Namespace+"/"+LeaseName)
	retry := firstRetry
	objects, err := r.watch(ctx)
	for err != nil {
		r.Logger.WarnContext(ctx, "MCPServers cannot be watched; it is tried again", "error", err)
		if pause(ctx, retry); ctx.Err() != nil {
			return
		}
		retry = min(2*retry, lastRetry)
		objects, err = r.watch(ctx)
	}
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.changed:
		case <-again.C:
		}
		if err := r.report(ctx, objects); err != nil && ctx.Err() == nil {
			r.Logger.WarnContext(ctx, "statuses could not be written; they will be again", "error", err)
			again.Reset(retry)
			retry = min(2*retry, lastRetry)
		} else {
			retry = firstRetry
		}
		pause(ctx, pace)
	}
}

// watch keeps MCPServers in memory until the context ends, or it fails.
func (r *Reporter) watch(ctx context.Context) (_ client.Reader, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			stop()
		}
	}()
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	o := cache.Options{Scheme: scheme, DefaultTransform: r.slim}
	for _, namespace := range r.Namespaces {
		if o.DefaultNamespaces == nil {
			o.DefaultNamespaces = map[string]cache.Config{}
		}
		o.DefaultNamespaces[namespace] = cache.Config{}
	}
	objects, err := cache.New(r.Cluster, o)
	if err != nil {
		return nil, fmt.Errorf("watch MCPServers: %w", err)
	}
	go func() {
		if err := objects.Start(ctx); err != nil && ctx.Err() == nil {
			r.Logger.ErrorContext(ctx, "MCPServers are no longer watched", "error", err)
		}
	}()
	// It waits until all have been read once.
	informer, err := objects.GetInformer(ctx, &v1alpha1.MCPServer{})
	if err != nil {
		return nil, fmt.Errorf("watch MCPServers: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(any) { r.Changed() }, UpdateFunc: func(any, any) { r.Changed() }})
	return objects, err
}

// slim leaves of managed fields only those that this gateway wrote.
func (r *Reporter) slim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(slices.DeleteFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool { return f.Manager != r.manager }))
	}
	return object, nil
}

// report goes over all MCPServers once.
func (r *Reporter) report(ctx context.Context, objects client.Reader) error {
	snap := r.Snapshot()
	if snap == nil {
		return nil
	}
	list := &v1alpha1.MCPServerList{}
	if err := objects.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list MCPServers: %w", err)
	}
	taken := conflicts(snap)
	now := metav1.Now()
	kept := map[client.ObjectKey]*v1alpha1.MCPServer{}
	var mu sync.Mutex
	var errs []error
	var group errgroup.Group
	group.SetLimit(parallel)
	for i := range list.Items {
		object := r.newest(&list.Items[i], kept)
		status, write := r.status(object, snap, taken, now)
		if !write {
			continue
		}
		group.Go(func() error {
			fresh, err := r.write(ctx, object, status)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				kept[client.ObjectKeyFromObject(object)] = fresh
			} else if !apierrors.IsNotFound(err) { // it was deleted meanwhile
				errs = append(errs, fmt.Errorf("write the status of the MCPServer %q: %w", client.ObjectKeyFromObject(object), err))
			}
			return nil
		})
	}
	_ = group.Wait() // one that fails costs the others nothing (Invariant 12)
	r.recent = kept
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return errors.Join(errs...)
}

// newest is an object as memory has it, or as it was written since.
func (r *Reporter) newest(object *v1alpha1.MCPServer, kept map[client.ObjectKey]*v1alpha1.MCPServer) *v1alpha1.MCPServer {
	key := client.ObjectKeyFromObject(object)
	fresh := r.recent[key]
	if fresh == nil || fresh.UID != object.UID {
		return object
	}
	if order, err := resourceversion.CompareResourceVersion(object.ResourceVersion, fresh.ResourceVersion); err != nil || order >= 0 {
		return object
	}
	kept[key] = fresh
	return fresh
}

// status is what an object's status shall say, and whether it is to be written.
func (r *Reporter) status(object *v1alpha1.MCPServer, snap *catalog.Snapshot, taken map[string][]string, now metav1.Time) (status map[string]any, write bool) {
	name := object.Namespace + "/" + object.Name
	s := snap.Server(name)
	if s == nil {
		// It has left the configuration: what was written is taken back.
		return nil, len(object.ManagedFields) > 0
	}
	v, known := judge(object, s, taken[name], now)
	if !known || v.told(object) {
		return nil, false
	}
	return v.status(), true
}

// write applies a status and returns the object as it is then.
func (r *Reporter) write(ctx context.Context, old *v1alpha1.MCPServer, status map[string]any) (*v1alpha1.MCPServer, error) {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.KindMCPServer))
	object.SetNamespace(old.Namespace)
	object.SetName(old.Name)
	if status != nil {
		object.Object["status"] = status
	}
	// By force, since the controller tells of Ready as long as a server is not in the configuration.
	if err := r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(r.manager), client.ForceOwnership); err != nil {
		return nil, err
	}
	fresh := &v1alpha1.MCPServer{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, fresh); err != nil {
		return nil, err
	}
	_, err := r.slim(fresh)
	return fresh, err
}
