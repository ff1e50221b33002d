{{- define "mcp-gateway.allowedRoutes" -}}
namespaces:
  from: {{ .Values.allowedRoutes.from }}
  {{- if eq .Values.allowedRoutes.from "Selector" }}
  selector:
    matchLabels: {{- toYaml .Values.allowedRoutes.matchLabels | nindent 6 }}
  {{- end }}
{{- end }}

{{/* What no schema can say of the Gateway. */}}
{{- define "mcp-gateway.checkGateway" -}}
{{- $gateway := .Values.global.gateway }}
{{- if .Values.create }}
{{- if not (or $gateway.http.enabled $gateway.https.enabled) }}
{{- fail "\n\nThe Gateway has no listener: set global.gateway.http.enabled or global.gateway.https.enabled to true" }}
{{- end }}
{{- if and $gateway.https.enabled (not .Values.https.certificateRefs) }}
{{- fail "\n\nglobal.gateway.https.enabled is true, and there is no certificate: name the Secret that has it in gateway.https.certificateRefs, as in [{name: mcp-gateway-tls}]" }}
{{- end }}
{{- if and $gateway.http.enabled $gateway.https.enabled (eq (int $gateway.http.port) (int $gateway.https.port)) }}
{{- fail (printf "\n\nThe listeners for HTTP and HTTPS have the same port %d: change global.gateway.http.port or global.gateway.https.port" (int $gateway.http.port)) }}
{{- end }}
{{- if and (eq .Values.allowedRoutes.from "Selector") (not .Values.allowedRoutes.matchLabels) }}
{{- fail "\n\ngateway.allowedRoutes.from is Selector, and no labels are given: set gateway.allowedRoutes.matchLabels" }}
{{- end }}
{{- end }}
{{- /* Only a cluster can tell what it has; there is none where a chart is only rendered. */}}
{{- if lookup "v1" "Namespace" "" "kube-system" }}
{{- if include "mcp-gateway.lacks" (list . "gateway.networking.k8s.io/v1/Gateway" "gateways.gateway.networking.k8s.io") }}
{{- fail "\n\nThe cluster does not know the Gateway API. Install it, then this chart:\n\n  kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.3/standard-install.yaml" }}
{{- end }}
{{- if and .Values.create (not (lookup "gateway.networking.k8s.io/v1" "GatewayClass" "" .Values.className)) }}
{{- $known := list }}
{{- range (lookup "gateway.networking.k8s.io/v1" "GatewayClass" "" "").items }}{{ $known = append $known .metadata.name }}{{ end }}
{{- fail (printf "\n\nThe cluster has no GatewayClass %q (gateway.className): %s" .Values.className (ternary (printf "set it to one of those that there are: %s" (join ", " $known)) "install an implementation of the Gateway API first, such as Istio" (gt (len $known) 0))) }}
{{- end }}
{{- if and (not .Values.create) (not (lookup "gateway.networking.k8s.io/v1" "Gateway" (include "mcp-gateway.gatewayNamespace" .) $gateway.name)) }}
{{- fail (printf "\n\nThe cluster has no Gateway %q in the namespace %q, and gateway.create is false: name one that there is in global.gateway, or have it made" $gateway.name (include "mcp-gateway.gatewayNamespace" .)) }}
{{- end }}
{{- end }}
{{- end }}
