package kubesource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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

	// courtesy is how long what another gateway's replica has told of an object is left alone.
	courtesy = 5 * time.Minute

	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// ReporterOptions are what a Reporter needs to know.
type ReporterOptions struct {
	Cluster *rest.Config
	// Names are those of the configuration: statuses are written of what is in it.
	Names Names
	// Namespaces limits whose objects are looked at; none means all.
	Namespaces []string
	// Identity is this replica's name, different from all others'.
	Identity string
	// Snapshot is nil as long as no configuration has been taken.
	Snapshot func() *catalog.Snapshot
	Logger   *slog.Logger
}

// Reporter writes into the statuses of MCPServers and MCPVirtualServers what the gateway knows of them, if it leads.
type Reporter struct {
	ReporterOptions

	manager string
	changed chan struct{}
	client  client.Client
	lock    resourcelock.Interface

	// leading is held by who leads: one that has lost the lease may still be at work when this replica leads again.
	leading sync.Mutex
	// recent belongs to who leads: objects as they were written, as long as memory has older ones, by kind and name.
	recent map[string]client.Object
}

// NewReporter prepares a reporter; Run begins.
func NewReporter(o ReporterOptions) (*Reporter, error) {
	o.Cluster = rest.AddUserAgent(rest.CopyConfig(o.Cluster), userAgent)
	if o.Cluster.QPS == 0 {
		o.Cluster.QPS = -1 // what is written at once is bounded by parallel
	}
	r := &Reporter{ReporterOptions: o, manager: fieldManager(o.Names), changed: make(chan struct{}, 1), recent: map[string]client.Object{}}
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
	r.leading.Lock()
	defer r.leading.Unlock()
	if ctx.Err() != nil {
		return
	}
	r.Logger.InfoContext(ctx, "this replica writes the statuses of MCPServers and MCPVirtualServers", "lease", r.Names.Namespace+"/"+LeaseName)
	retry := firstRetry
	objects, err := r.watch(ctx)
	for err != nil {
		r.Logger.WarnContext(ctx, "MCPServers and MCPVirtualServers cannot be watched; it is tried again", "error", err)
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
		later, err := r.report(ctx, objects)
		if err != nil && ctx.Err() == nil {
			r.Logger.WarnContext(ctx, "statuses could not be written; they will be again", "error", err)
			again.Reset(retry)
			retry = min(2*retry, lastRetry)
		} else {
			retry = firstRetry
			if later > 0 {
				again.Reset(later)
			}
		}
		pause(ctx, pace)
	}
}

// watch keeps both kinds in memory until the context ends, or it fails.
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
		return nil, fmt.Errorf("watch MCPServers and MCPVirtualServers: %w", err)
	}
	go func() {
		if err := objects.Start(ctx); err != nil && ctx.Err() == nil {
			r.Logger.ErrorContext(ctx, "MCPServers and MCPVirtualServers are no longer watched", "error", err)
		}
	}()
	for _, kind := range []client.Object{&v1alpha1.MCPServer{}, &v1alpha1.MCPVirtualServer{}} {
		informer, err := objects.GetInformer(ctx, kind)
		if err == nil {
			_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(any) { r.Changed() }, UpdateFunc: func(any, any) { r.Changed() }})
		}
		if err != nil {
			return nil, fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	if !objects.WaitForCacheSync(ctx) {
		return nil, fmt.Errorf("watch MCPServers and MCPVirtualServers: %w", ctx.Err())
	}
	return objects, nil
}
