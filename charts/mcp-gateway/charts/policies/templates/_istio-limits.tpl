{{/*
Rate limits as Envoy counts them. internal/xds makes the same for an Envoy that it feeds itself, and a test compares the two.
*/}}

{{/* Whether a text in the metadata matches one of some globs, in CEL: (list KEY GLOBS). */}}
{{- define "policies.istio.among" -}}
{{- $text := printf "metadata.filter_metadata[\"envoy.filters.http.mcp_gateway\"].%s" (first .) -}}
{{- $matches := list -}}
{{- range last . -}}
  {{- if hasSuffix "*" . -}}
    {{- $matches = append $matches (printf "%s.startsWith(%s)" $text (trimSuffix "*" . | toRawJson)) -}}
  {{- else if hasPrefix "*" . -}}
    {{- $matches = append $matches (printf "%s.endsWith(%s)" $text (trimPrefix "*" . | toRawJson)) -}}
  {{- else -}}
    {{- $matches = append $matches (printf "%s == %s" $text (toRawJson .)) -}}
  {{- end -}}
{{- end -}}
({{ join " || " $matches }})
{{- end }}

{{/* The CEL expression whose value is the limit's name for the calls that it counts, and that has no value for all others: (list LIMIT NAME). */}}
{{- define "policies.istio.counted" -}}
{{- $facts := "metadata.filter_metadata[\"envoy.filters.http.mcp_gateway\"]" -}}
{{- $all := list (printf "has(%s.tool)" $facts) -}}
{{- with (first .).tools }}{{ $all = append $all (include "policies.istio.among" (list "public_name" .)) }}{{ end -}}
{{- with (first .).servers }}{{ $all = append $all (include "policies.istio.among" (list "server" .)) }}{{ end -}}
{{ join " && " $all }} ? {{ last . | toRawJson }} : {{ $facts }}["tool"]["of no text"]
{{- end }}

{{/* An entry of what a call is counted under, with a value from the metadata, as JSON: (list KEY NAMESPACE PATH...). */}}
{{- define "policies.istio.ofMetadata" -}}
{{- $path := list -}}
{{- range slice . 2 }}{{ $path = append $path (dict "key" .) }}{{ end -}}
{{ toRawJson (dict "metadata" (dict "descriptor_key" (index . 0) "metadata_key" (dict "key" (index . 1) "path" $path) "default_value" "-")) }}
{{- end }}

{{/*
The places of the limits, as JSON, beginning with the one that is filled up slowest: what that one refuses costs nothing in the others.
*/}}
{{- define "policies.istio.slowestFirst" -}}
{{- $keys := list -}}
{{- range $i, $limit := .Values.rateLimits -}}
  {{- $keys = append $keys (printf "%030.12f %d" (divf $limit.limit (float64 (include "mcp-gateway.seconds" $limit.window))) $i) -}}
{{- end -}}
{{- $places := list -}}
{{- range sortAlpha $keys }}{{ $places = append $places (splitList " " . | last | int) }}{{ end -}}
{{ toRawJson $places }}
{{- end }}

{{/*
The configuration of the filter that counts for one limit, as JSON: (list LIMIT NAME). It says itself when to try again, which is when one call's worth has
been filled up: Istio drops the setting by which newer Envoys say the very second.
*/}}
{{- define "policies.istio.limit" -}}
{{- $limit := first . -}}
{{- $name := last . -}}
{{- $per := ternary $limit.per (list $limit.per) (kindIs "slice" $limit.per) -}}
{{- $seconds := include "mcp-gateway.seconds" $limit.window -}}
{{- $always := dict "numerator" 100 -}}
{{- $actions := list (dict "extension" (dict "name" "envoy.rate_limit_descriptors.expr" "typed_config" (dict
      "@type" "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"
      "descriptor_key" "limit" "text" (include "policies.istio.counted" .)))) -}}
{{- $entries := list (dict "key" "limit" "value" $name) -}}
{{- if has "user" $per -}}
  {{- range $claim := list (list "issuer" "iss") (list "subject" "sub") -}}
    {{- $entries = append $entries (dict "key" (first $claim)) -}}
    {{- $actions = append $actions (include "policies.istio.ofMetadata" (list (first $claim) "envoy.filters.http.jwt_authn" "payload" (last $claim)) | fromJson) -}}
  {{- end -}}
{{- end -}}
{{- range $key := list "server" "tool" -}}
  {{- if or (has $key $per) (and (eq $key "server") (has "tool" $per)) -}}
    {{- $entries = append $entries (dict "key" $key) -}}
    {{- $actions = append $actions (include "policies.istio.ofMetadata" (list $key "envoy.filters.http.mcp_gateway" $key) | fromJson) -}}
  {{- end -}}
{{- end -}}
{{ toRawJson (dict
  "@type" "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
  "stat_prefix" "mcp_gateway_limits"
  "filter_enabled" (dict "default_value" $always "runtime_key" "mcp_gateway.limits_enabled")
  "filter_enforced" (dict "default_value" $always "runtime_key" "mcp_gateway.limits_enforced")
  "always_consume_default_token_bucket" false
  "max_dynamic_descriptors" 32768
  "response_headers_to_add" (list (dict
    "append_action" "OVERWRITE_IF_EXISTS_OR_ADD"
    "header" (dict "key" "retry-after" "value" (divf (float64 $seconds) $limit.limit | ceil | int64 | toString))))
  "descriptors" (list (dict "entries" $entries "token_bucket" (dict
    "max_tokens" (int64 $limit.limit) "tokens_per_fill" (int64 $limit.limit) "fill_interval" (printf "%ss" $seconds))))
  "rate_limits" (list (dict "actions" $actions))) }}
{{- end }}
