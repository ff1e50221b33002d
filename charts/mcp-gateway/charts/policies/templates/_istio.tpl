{{/*
What the engine "istio" makes of the policy values. Templates that return more than a text return JSON.
*/}}

{{/* The name of an object: include "policies.istio.name" (list . "PART"). The controller's EnvoyFilters are named in the same way. */}}
{{- define "policies.istio.name" -}}
{{ (first .).Values.global.gateway.name }}-mcp-{{ last . }}
{{- end }}

{{/* Metadata of an object, which lies beside the Gateway: include "policies.istio.metadata" (list . "PART"). */}}
{{- define "policies.istio.metadata" -}}
name: {{ include "policies.istio.name" . }}
namespace: {{ include "mcp-gateway.gatewayNamespace" (first .) }}
labels:
  {{- include "mcp-gateway.labels" (list (first .) "mcp-gateway-policies") | nindent 2 }}
{{- end }}

{{/* The Gateway as the target of a policy. */}}
{{- define "policies.istio.target" -}}
targetRefs:
  - {group: gateway.networking.k8s.io, kind: Gateway, name: {{ .Values.global.gateway.name }}}
{{- end }}

{{/* The key of a condition over what the router said of a request. No client can set it. */}}
{{- define "policies.istio.fact" -}}
experimental.envoy.filters.http.mcp_gateway[{{ . }}]
{{- end }}

{{/* What of claims rules ask for, such as ["groups", "scopes"]. */}}
{{- define "policies.istio.asked" -}}
{{- $asked := list -}}
{{- range $rule := .Values.acl -}}
{{- range $key := list "users" "groups" "roles" "scopes" -}}
{{- if hasKey $rule $key }}{{ $asked = append $asked $key }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $asked | uniq | toRawJson -}}
{{- end }}

{{/* The claims that Istio splits at their spaces. "scope" and "permission" it always does. */}}
{{- define "policies.istio.split" -}}
{{- $split := list "scope" "permission" -}}
{{- if has "scopes" (include "policies.istio.asked" . | fromJsonArray) -}}
{{- $path := include "policies.claimPath" (list . "scopes") | fromJsonArray -}}
{{- if eq (len $path) 1 }}{{ $split = concat $split $path | uniq }}{{ end -}}
{{- end -}}
{{- $split | toRawJson -}}
{{- end }}

{{/* The key of a condition over a claim: include "policies.istio.claim" (list . "groups"). */}}
{{- define "policies.istio.claim" -}}
request.auth.claims[{{ include "policies.claimPath" (list (first .) (last . | replace "users" "user")) | fromJsonArray | join "][" }}]
{{- end }}

{{/* All texts that the router may say of a tool's annotations and that have these hints. */}}
{{- define "policies.istio.hints" -}}
{{- $texts := list "" -}}
{{- range $hint := list "readOnly" "destructive" "idempotent" "openWorld" -}}
{{- $more := list -}}
{{- range $text := $texts -}}
{{- range $value := list true false -}}
{{- if or (not (hasKey $ $hint)) (eq (get $ $hint) $value) -}}
{{- $more = append $more (printf "%s%s%s=%t" $text (ternary "," "" (ne $text "")) $hint $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $texts = $more -}}
{{- end -}}
{{- $texts | toRawJson -}}
{{- end }}

{{/* The conditions over what one item of "allow" is about. */}}
{{- define "policies.istio.item" -}}
{{- $when := list -}}
{{- if kindIs "string" . -}}
{{- $when = append $when (dict "key" (include "policies.istio.fact" "tool") "values" (list "*")) -}}
{{- if ne . "*" -}}
{{- $when = append $when (dict "key" (include "policies.istio.fact" "public_name") "values" (list .)) -}}
{{- end -}}
{{- else -}}
{{- range $kind := list "tool" "prompt" "resource" -}}
{{- if hasKey $ $kind -}}
{{- $when = append $when (dict "key" (include "policies.istio.fact" $kind) "values" (list (get $ $kind))) -}}
{{- end -}}
{{- end -}}
{{- if .hints -}}
{{- if not .tool -}}
{{- $when = append $when (dict "key" (include "policies.istio.fact" "tool") "values" (list "*")) -}}
{{- end -}}
{{- $when = append $when (dict "key" (include "policies.istio.fact" "hints") "values" (include "policies.istio.hints" .hints | fromJsonArray)) -}}
{{- end -}}
{{- $server := .server | default "*" -}}
{{- if or (not $when) (ne $server "*") -}}
{{- $when = append $when (dict "key" (include "policies.istio.fact" "server") "values" (list $server)) -}}
{{- end -}}
{{- end -}}
{{- $when | toRawJson -}}
{{- end }}

{{/* Whether requests that are not for the endpoint pass: empty if they do not. */}}
{{- define "policies.istio.othersPass" -}}
{{- if .Values.istio.othersPass }}true{{ end -}}
{{- end }}

{{/*
The rules of the AuthorizationPolicies that allow: what is not for the endpoint, what names no item, and one rule for each item of each rule. A request that
names an item is told by its method too, for a star does not match an empty name, nor one with a line break.
*/}}
{{- define "policies.istio.rules" -}}
{{- $rules := list -}}
{{- if include "policies.istio.othersPass" . -}}
{{- $rules = append $rules (dict "when" (list (dict "key" (include "policies.istio.fact" "server") "notValues" (list "*")))) -}}
{{- end -}}
{{- $free := list
      (dict "key" (include "policies.istio.fact" "server") "values" (list "*"))
      (dict "key" (include "policies.istio.fact" "method") "notValues"
        (list "tools/call" "prompts/get" "resources/read" "resources/subscribe" "resources/unsubscribe" "completion/complete")) -}}
{{- range $kind := list "tool" "prompt" "resource" -}}
{{- $free = append $free (dict "key" (include "policies.istio.fact" $kind) "notValues" (list "*")) -}}
{{- end -}}
{{- $rules = append $rules (dict "when" $free) -}}
{{- range $rule := .Values.acl -}}
{{- $who := list -}}
{{- range $key := list "users" "groups" "roles" "scopes" -}}
{{- if hasKey $rule $key -}}
{{- $who = append $who (dict "key" (include "policies.istio.claim" (list $ $key)) "values" (get $rule $key)) -}}
{{- end -}}
{{- end -}}
{{- range $item := $rule.allow -}}
{{- $rules = append $rules (dict "when" (concat $who (include "policies.istio.item" $item | fromJsonArray))) -}}
{{- end -}}
{{- end -}}
{{- $rules | toRawJson -}}
{{- end }}
