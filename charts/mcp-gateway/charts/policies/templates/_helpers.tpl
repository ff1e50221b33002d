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

{{/* How many seconds a duration such as 1m30s has, as a decimal number, or nothing if it is no duration. */}}
{{- define "policies.seconds" -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.000001 "µs" 0.000001 "μs" 0.000001 "ns" 0.000000001 -}}
{{- $number := `(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)` -}}
{{- $unit := `(?:ns|us|µs|μs|ms|s|m|h)` -}}
{{- if regexMatch (printf `^\+?(?:0|(?:%s%s)+)$` $number $unit) . -}}
{{- $sum := 0.0 -}}
{{- range $part := regexFindAll (printf `%s%s` $number $unit) . -1 -}}
{{- $sum = addf $sum (mulf (float64 (printf "0%s" (regexFind $number $part))) (get $units (regexFind (printf `%s$` $unit) $part))) -}}
{{- end -}}
{{- printf "%.9f" $sum | regexFind `^[0-9]+(?:\.[0-9]*[1-9])?` -}}
{{- end -}}
{{- end }}
