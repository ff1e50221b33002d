{{/* The policy values as they stand in a file for --policies, as JSON. */}}
{{- define "policies.document" -}}
{{- $policies := dict -}}
{{- range $key := list "authentication" "acl" "rateLimits" "rateLimitService" -}}
{{- if hasKey $.Values $key -}}
{{- $_ := set $policies $key (get $.Values $key) -}}
{{- end -}}
{{- end -}}
{{- dict "policies" $policies | toRawJson -}}
{{- end }}

{{/* The name of the rule or limit with an index: include "policies.name" (list RULE "rule" INDEX). */}}
{{- define "policies.name" -}}
{{- get (index . 0) "name" | default (printf "%s-%d" (index . 1) (int (index . 2))) -}}
{{- end }}

{{/* The path of a claim, from the outermost name to the innermost, as JSON: include "policies.claimPath" (list . "groups"). */}}
{{- define "policies.claimPath" -}}
{{- $default := get (dict "user" "preferred_username" "groups" "groups" "roles" "realm_access.roles" "scopes" "scope") (index . 1) -}}
{{- $claims := get ((index . 0).Values.authentication | default dict) "claims" | default dict -}}
{{- $path := get $claims (index . 1) | default $default -}}
{{- if kindIs "string" $path -}}{{- $path = splitList "." $path -}}{{- end -}}
{{- $path | toRawJson -}}
{{- end }}
