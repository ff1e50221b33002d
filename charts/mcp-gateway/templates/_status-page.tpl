{{/* What no schema can say of the status page: somebody must be named who may see it, and by whose tokens. */}}
{{- define "mcp-gateway.checkStatusPage" -}}
{{- $page := .Values.global.statusPage }}
{{- $listener := .Values.gateway.https.hostname }}
{{- if not .Values.global.gateway.https.enabled }}{{ $listener = .Values.gateway.http.hostname }}{{ end }}
{{- if not $page.hostname }}
{{- fail "\n\nglobal.statusPage.enabled is true, and the page has no hostname: set global.statusPage.hostname to one that is none of the endpoint's" }}
{{- end }}
{{- if has $page.hostname .Values.global.hostnames }}
{{- fail (printf "\n\nglobal.statusPage.hostname is %s, which is one of global.hostnames: the page needs a hostname of its own" $page.hostname) }}
{{- end }}
{{- if not (or $page.users $page.groups $page.roles) }}
{{- fail "\n\nglobal.statusPage.enabled is true, and nobody is named who may see the page: set global.statusPage.users, global.statusPage.groups or global.statusPage.roles" }}
{{- end }}
{{- if not (and .Values.policies.enabled .Values.policies.authentication) }}
{{- fail "\n\nglobal.statusPage.enabled is true, and nothing says whose tokens are believed: set policies.enabled to true, and the issuer and audiences in policies.authentication" }}
{{- end }}
{{- if and .Values.gateway.enabled .Values.gateway.create $listener (ne $listener $page.hostname) (not (and (hasPrefix "*." $listener) (hasSuffix (trimPrefix "*" $listener) $page.hostname))) }}
{{- fail (printf "\n\nglobal.statusPage.hostname is %s, and the Gateway's listener takes %s alone: set gateway.%s.hostname to one of both, such as *.example.com, or to nothing" $page.hostname $listener (ternary "https" "http" .Values.global.gateway.https.enabled)) }}
{{- end }}
{{- end }}
