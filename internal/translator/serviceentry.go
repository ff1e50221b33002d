package translator

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ServiceEntry is what a translation reads of Istio's resource of that name, by which a mesh knows a server outside of it.
type ServiceEntry struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              ServiceEntrySpec `json:"spec"`
}

// ServiceEntrySpec names hosts and how they are reached.
type ServiceEntrySpec struct {
	Hosts      []string               `json:"hosts,omitempty"`
	Ports      []ServiceEntryPort     `json:"ports,omitempty"`
	Resolution string                 `json:"resolution,omitempty"`
	Endpoints  []ServiceEntryEndpoint `json:"endpoints,omitempty"`
	ExportTo   []string               `json:"exportTo,omitempty"`
}

// ServiceEntryPort is one port of the hosts. TargetPort is the one that is connected to, if it differs.
type ServiceEntryPort struct {
	Number     int32  `json:"number,omitempty"`
	Protocol   string `json:"protocol,omitempty"`
	Name       string `json:"name,omitempty"`
	TargetPort int32  `json:"targetPort,omitempty"`
}

// ServiceEntryEndpoint is an address that stands for the hosts.
type ServiceEntryEndpoint struct {
	Address string           `json:"address,omitempty"`
	Ports   map[string]int32 `json:"ports,omitempty"`
}

// ServiceEntryFrom reads a ServiceEntry from the content of an unstructured object; what it does not know it leaves out.
func ServiceEntryFrom(content map[string]any) (*ServiceEntry, error) {
	var entry ServiceEntry
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &entry); err != nil {
		return nil, fmt.Errorf("read a ServiceEntry: %w", err)
	}
	return &entry, nil
}
