{{/* The URL that `helm test` calls: that of the Service that Istio makes for the Gateway, whose port is its listener's. */}}
{{- define "mcp-gateway.testURL" -}}
{{- $gateway := .Values.global.gateway -}}
{{- $listener := ternary $gateway.http $gateway.https $gateway.http.enabled -}}
{{- $service := printf "%s-%s.%s.svc" $gateway.name .Values.gateway.className (include "mcp-gateway.gatewayNamespace" .) -}}
{{- .Values.tests.url | default (printf "%s://%s:%d/mcp" (ternary "http" "https" $gateway.http.enabled) $service (int $listener.port)) -}}
{{- end }}

{{/* Whether policies ask callers for a token. */}}
{{- define "mcp-gateway.asksForTokens" -}}
{{- if and .Values.policies.enabled .Values.policies.authentication -}}true{{- end -}}
{{- end }}
