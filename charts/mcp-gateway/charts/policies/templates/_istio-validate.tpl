{{/*
What Istio's objects cannot say is refused, with what to change: nothing is left out. An AuthorizationPolicy compares strings; it has no expressions, and it
knows a star at the beginning or the end of every value.
*/}}

{{/* Reports it: include "policies.validateForIstio" (list FOUND .). The values themselves are right. */}}
{{- define "policies.validateForIstio" -}}
{{- $found := first . -}}
{{- $top := last . -}}
{{- $values := $top.Values -}}
{{- if not $values.global.istio.enabled -}}
{{- include "policies.refuse" (list $found "policies.engine" "is istio, and global.istio.enabled is false: Istio's policies know what is called only where the controller writes EnvoyFilters. Set global.istio.enabled to true, or use the engine kuadrant") -}}
{{- end -}}
{{- with $values.authentication -}}
{{- if .clockSkew -}}
{{- if ne (include "mcp-gateway.seconds" .clockSkew) "60" -}}
{{- include "policies.refuse" (list $found "policies.authentication.clockSkew" (printf "%q is not what Istio does: it takes tokens up to a minute after their end, and cannot be told otherwise. Take the key out, write 1m, or use the engine kuadrant" .clockSkew)) -}}
{{- end -}}
{{- end -}}
{{- include "policies.istio.validateExact" (list $found "policies.authentication.audiences" .audiences) -}}
{{- end -}}
{{- include "policies.istio.validatePaths" (list $found $top) -}}
{{- range $i, $rule := $values.acl -}}
{{- $at := printf "policies.acl[%d]" $i -}}
{{- if hasKey $rule "when" -}}
{{- include "policies.refuse" (list $found (printf "%s.when" $at) "an AuthorizationPolicy evaluates no expressions. Ask for users, groups, roles or scopes, have the issuer say in one of them what the condition asks for, or use the engine kuadrant") -}}
{{- end -}}
{{- range $key := list "users" "groups" "roles" "scopes" -}}
{{- include "policies.istio.validateExact" (list $found (printf "%s.%s" $at $key) (get $rule $key | default list)) -}}
{{- end -}}
{{- range $j, $item := $rule.allow -}}
{{- include "policies.istio.validateItem" (list $found (printf "%s.allow[%d]" $at $j) $item) -}}
{{- end -}}
{{- end -}}
{{- if hasKey $values "rateLimitService" -}}
{{- include "policies.refuse" (list $found "policies.rateLimitService" "is for Envoys that the gateway feeds itself; with the engine istio each Envoy counts for itself. Take the key out, or use the engine kuadrant") -}}
{{- end -}}
{{- if and (not $found.problems) (hasKey $values "acl") (include "policies.istio.othersPass" $top) -}}
{{- include "policies.istio.validateAlone" (list $found $top) -}}
{{- end -}}
{{- end }}

{{/* Texts that stand for themselves: include "policies.istio.validateExact" (list FOUND PATH TEXTS). */}}
{{- define "policies.istio.validateExact" -}}
{{- range $i, $text := last . -}}
{{- if or (hasPrefix "*" $text) (hasSuffix "*" $text) -}}
{{- include "policies.refuse" (list (index $ 0) (printf "%s[%d]" (index $ 1) $i) (printf "%q stands for itself, and an AuthorizationPolicy would take its star for anything. Use a name without one, or the engine kuadrant" $text)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* One item of "allow". */}}
{{- define "policies.istio.validateItem" -}}
{{- $found := index . 0 -}}
{{- $at := index . 1 -}}
{{- $globs := dict "" (last .) -}}
{{- if kindIs "map" (last .) }}{{ $globs = pick (last .) "server" "tool" "prompt" "resource" }}{{ end -}}
{{- range $key, $glob := $globs -}}
{{- if and (hasPrefix "[" $glob) (hasSuffix "]" $glob) -}}
{{- include "policies.refuse" (list $found (printf "%s%s" $at (ternary (printf ".%s" $key) "" (ne $key ""))) (printf "an AuthorizationPolicy takes %q, with its brackets, for a list. End it with a star, or use the engine kuadrant" $glob)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Where claims are. */}}
{{- define "policies.istio.validatePaths" -}}
{{- $found := first . -}}
{{- $top := last . -}}
{{- $split := include "policies.istio.split" $top | fromJsonArray -}}
{{- range $asked := include "policies.istio.asked" $top | fromJsonArray -}}
{{- $key := $asked | replace "users" "user" -}}
{{- $at := printf "policies.authentication.claims.%s" $key -}}
{{- $path := include "policies.claimPath" (list $top $key) | fromJsonArray -}}
{{- range $path -}}
{{- if regexMatch `[\[\]]` . -}}
{{- include "policies.refuse" (list $found $at (printf "%q has a bracket in its name, which an AuthorizationPolicy cannot ask for. Have the issuer give the claim another name, or use the engine kuadrant" .)) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $asked "scopes") (gt (len $path) 1) -}}
{{- include "policies.refuse" (list $found $at (printf "%q is inside of another claim, and Istio splits only outermost claims at their spaces. Have the issuer put the scopes there, or use the engine kuadrant" (join "." $path))) -}}
{{- else if and (ne $asked "scopes") (eq (len $path) 1) (has (first $path) $split) -}}
{{- include "policies.refuse" (list $found $at (printf "Istio splits the claim %q at its spaces, so that one value would count as several. Name another claim, or use the engine kuadrant" (first $path))) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
AuthorizationPolicies of others that allow something at the Gateway. What any policy allows is allowed: ours would open what theirs keep closed, and theirs
could open tools. Where helm asks no cluster, as with `helm template`, none are found.
*/}}
{{- define "policies.istio.validateAlone" -}}
{{- $found := first . -}}
{{- $top := last . -}}
{{- $namespace := include "mcp-gateway.gatewayNamespace" $top -}}
{{- $ours := include "policies.istio.name" (list $top "access") -}}
{{- range (lookup "security.istio.io/v1" "AuthorizationPolicy" $namespace "").items -}}
{{- $spec := .spec | default dict -}}
{{- $targets := concat (get $spec "targetRefs" | default list) (ternary (list (get $spec "targetRef")) list (hasKey $spec "targetRef")) -}}
{{- $here := not $targets -}}
{{- range $targets -}}
{{- if and (eq .kind "Gateway") (eq .name $top.Values.global.gateway.name) }}{{ $here = true }}{{ end -}}
{{- end -}}
{{- if and $here (eq (get $spec "action" | default "ALLOW") "ALLOW") (not (hasPrefix $ours .metadata.name)) -}}
{{- include "policies.refuse" (list $found "policies.istio.othersPass" (printf "the AuthorizationPolicy \"%s/%s\" allows requests at the Gateway too, and what one allows, no other keeps closed. Set this to false, and see \"Other applications\" in docs/guides/istio-policies.md" $namespace .metadata.name)) -}}
{{- end -}}
{{- end -}}
{{- end }}
