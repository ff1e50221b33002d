{{/* Says what to do where the cluster does not know a kind: include "mcp-gateway.needsKind" (list . "GROUP/VERSION/KIND" "VALUE"). */}}
{{- define "mcp-gateway.needsKind" -}}
{{- $top := first . }}
{{- if include "mcp-gateway.lacks" (list $top (index . 1) (printf "%ss.monitoring.coreos.com" (splitList "/" (index . 1) | last | lower))) }}
{{- fail (printf "\n\nThe cluster does not know the kind %s: install the Prometheus operator first, or set %s to false" (index . 1) (index . 2)) }}
{{- end }}
{{- end }}
