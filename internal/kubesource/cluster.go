package kubesource

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is how the API server is reached: by a kubeconfig file, by those that the environment variable KUBECONFIG names or, with neither, as the pod that the
// process runs in. The namespace is the one that is meant where none is named.
func Cluster(kubeconfig string) (config *rest.Config, namespace string, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{})
	if config, err = loader.ClientConfig(); err == nil {
		namespace, _, err = loader.Namespace()
	}
	if err != nil {
		return nil, "", fmt.Errorf("no way to the API server: run in a pod with a service account, or name a kubeconfig file: %w", err)
	}
	return config, namespace, nil
}
