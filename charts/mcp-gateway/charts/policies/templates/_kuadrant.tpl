{{/*
Policy values in the words of Kuadrant: CEL over what the router says in headers. A caller is judged rule by rule, and an item by its names.

Names in headers that are no plain ASCII are encoded (MCP 2026-07-28, "Value Encoding"): "=?base64?", the name in base64, "?=". CEL cannot decode that here, so
that beginnings and ends of names are looked for in base64 as well.
*/}}

{{/* The objects' name. */}}
{{- define "policies.kuadrant.name" -}}mcp-gateway-policies{{- end }}

{{/* Whether callers are judged at all. */}}
{{- define "policies.kuadrant.judges" -}}
{{- if or (hasKey .Values "authentication") (hasKey .Values "acl") -}}true{{- end -}}
{{- end }}

{{/* Whether Authorino says in a signed header what a caller may have. With keys at an address of their own it cannot: it looks for the issuer's metadata. */}}
{{- define "policies.kuadrant.signs" -}}
{{- if and (include "policies.kuadrant.judges" .) (not (dig "jwksURI" "" (.Values.authentication | default dict))) -}}true{{- end -}}
{{- end }}

{{/* What a header says: include "policies.kuadrant.header" "toolname". */}}
{{- define "policies.kuadrant.header" -}}request.headers["x-mcp-{{ . }}"]{{- end }}

{{/* Whether there is a header. */}}
{{- define "policies.kuadrant.has" -}}"x-mcp-{{ . }}" in request.headers{{- end }}

{{/* Whether a header matches a glob, or nothing if every header does: include "policies.kuadrant.glob" (list HEADER GLOB). */}}
{{- define "policies.kuadrant.glob" -}}
{{- $value := include "policies.kuadrant.header" (index . 0) -}}
{{- $glob := index . 1 -}}
{{- $mark := "=?base64?" -}}
{{- if eq $glob "*" -}}
{{- else if hasSuffix "*" $glob -}}
{{- $text := trimSuffix "*" $glob -}}
{{- $plain := printf "%s.startsWith(%s)" $value (toRawJson $text) -}}
{{- if or (hasPrefix $text $mark) (hasPrefix $mark $text) -}}{{- $plain = printf "!%s.startsWith(%q) && %s" $value $mark $plain -}}{{- end -}}
({{ $plain }} || {{ $value }}.matches({{ include "policies.kuadrant.encodedPrefix" $text | toRawJson }}))
{{- else if hasPrefix "*" $glob -}}
{{- $text := trimPrefix "*" $glob -}}
{{- $plain := printf "%s.endsWith(%s)" $value (toRawJson $text) -}}
{{- if hasSuffix "=" $text -}}{{- $plain = printf "!%s.startsWith(%q) && %s" $value $mark $plain -}}{{- end -}}
({{ $plain }} || {{ $value }}.matches({{ include "policies.kuadrant.encodedSuffix" $text | toRawJson }}))
{{- else if and (regexMatch `^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$` $glob) (not (hasPrefix $mark $glob)) -}}
{{ $value }} == {{ toRawJson $glob }}
{{- else -}}
{{ $value }} == {{ printf "%s%s?=" $mark (b64enc $glob) | toRawJson }}
{{- end -}}
{{- end }}

{{- define "policies.kuadrant.alphabet" -}}ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/{{- end }}

{{/* Which number a character of base64 stands for. */}}
{{- define "policies.kuadrant.digit" -}}
{{- splitList . (include "policies.kuadrant.alphabet" .) | first | len -}}
{{- end }}

{{/* A regular expression for encoded texts that begin with a text. Of its last character in base64, some bits are those of what follows. */}}
{{- define "policies.kuadrant.encodedPrefix" -}}
{{- $encoded := b64enc . | trimSuffix "=" | trimSuffix "=" -}}
{{- $over := mod (len .) 3 | int -}}
{{- $last := "" -}}
{{- if gt $over 0 -}}
{{- $cut := sub (len $encoded) 1 | int -}}
{{- $first := include "policies.kuadrant.digit" (substr $cut (len $encoded) $encoded) | int -}}
{{- $last = printf "[%s]" (substr $first (add $first (ternary 16 4 (eq $over 1)) | int) (include "policies.kuadrant.alphabet" .)) -}}
{{- $encoded = substr 0 $cut $encoded -}}
{{- end -}}
^=[?]base64[?]{{ replace "+" "[+]" $encoded }}{{ $last }}
{{- end }}

{{/* A regular expression for encoded texts that end with a text. It may begin with any of the three bytes that base64 takes together. */}}
{{- define "policies.kuadrant.encodedSuffix" -}}
{{- $alphabet := include "policies.kuadrant.alphabet" . -}}
{{- $nul := b64dec "AA==" -}}
{{- $one := printf "%s%s" $nul . | b64enc -}}
{{- $second := include "policies.kuadrant.digit" (substr 1 2 $one) | int -}}
{{- $seconds := "" -}}
{{- range until 4 -}}{{- $at := add $second (mul 16 .) | int -}}{{- $seconds = printf "%s%s" $seconds (substr $at (add1 $at | int) $alphabet) -}}{{- end -}}
{{- $two := printf "%s%s%s" $nul $nul . | b64enc -}}
{{- $third := include "policies.kuadrant.digit" (substr 2 3 $two) | int -}}
{{- $thirds := "" -}}
{{- range until 16 -}}{{- $at := add $third (mul 4 .) | int -}}{{- $thirds = printf "%s%s" $thirds (substr $at (add1 $at | int) $alphabet) -}}{{- end -}}
^=[?]base64[?].*(?:{{ b64enc . | replace "+" "[+]" }}|.[{{ $seconds }}]{{ substr 2 (len $one) $one | replace "+" "[+]" }}|..[{{ $thirds }}]{{ substr 3 (len $two) $two | replace "+" "[+]" }})[?]=$
{{- end }}

{{/* Whether the request is about an item of "allow". */}}
{{- define "policies.kuadrant.item" -}}
{{- $all := list -}}
{{- if kindIs "string" . -}}
{{- $all = list (include "policies.kuadrant.has" "toolname") (include "policies.kuadrant.glob" (list "publicname" .)) -}}
{{- else -}}
{{- with .server -}}{{- $all = append $all (include "policies.kuadrant.glob" (list "servername" .)) -}}{{- end -}}
{{- $item := . -}}
{{- range $kind, $header := dict "tool" "toolname" "prompt" "promptname" "resource" "resourceuri" -}}
{{- if or (hasKey $item $kind) (and (eq $kind "tool") (hasKey $item "hints")) -}}
{{- $all = concat $all (list (include "policies.kuadrant.has" $header) (include "policies.kuadrant.glob" (list $header (get $item $kind | default "*")))) -}}
{{- end -}}
{{- end -}}
{{- if hasKey . "hints" -}}{{- $all = append $all (include "policies.kuadrant.has" "annotation-hints") -}}{{- end -}}
{{- range $hint, $set := .hints -}}
{{- $all = append $all (printf "%s.contains(\"%s=%t\")" (include "policies.kuadrant.header" "annotation-hints") $hint $set) -}}
{{- end -}}
{{- end -}}
{{- join " && " (without $all "") | default "true" -}}
{{- end }}

{{/* Whether the request asks for a tool, a prompt or a resource. */}}
{{- define "policies.kuadrant.anyItem" -}}
{{ include "policies.kuadrant.has" "toolname" }} || {{ include "policies.kuadrant.has" "promptname" }} || {{ include "policies.kuadrant.has" "resourceuri" }}
{{- end }}

{{/* What a rule's evaluator is called: include "policies.kuadrant.evaluator" (list RULE INDEX). */}}
{{- define "policies.kuadrant.evaluator" -}}
acl-{{ include "policies.name" (list (index . 0) "rule" (index . 1)) }}
{{- end }}

{{/* Whether a claim has one of some texts, or a string of words one of them: include "policies.kuadrant.claim" (list . "groups" TEXTS). */}}
{{- define "policies.kuadrant.claim" -}}
{{- $path := "auth.identity" -}}
{{- range include "policies.claimPath" . | fromJsonArray -}}{{- $path = printf "%s[%s]" $path (toRawJson .) -}}{{- end -}}
{{- $wanted := index . 2 | toRawJson -}}
{{- $text := printf "c in %s" $wanted -}}
{{- if eq (index . 1) "scopes" -}}{{- $text = printf "c.split(\" \").exists(w, w in %s)" $wanted -}}{{- end -}}
[{{ $path }}].exists(c, type(c) == string && {{ $text }} || type(c) == list && c.exists(e, e in {{ $wanted }}))
{{- end }}

{{/* What of a caller must be true for a rule, as a JSON list of predicates: include "policies.kuadrant.callers" (list . RULE). What cannot be evaluated is not. */}}
{{- define "policies.kuadrant.callers" -}}
{{- $top := index . 0 -}}
{{- $rule := index . 1 -}}
{{- $predicates := list -}}
{{- range $key := list "users" "groups" "roles" "scopes" -}}
{{- if hasKey $rule $key -}}
{{- $name := ternary "user" $key (eq $key "users") -}}
{{- $predicates = append $predicates (dict "predicate" (include "policies.kuadrant.claim" (list $top $name (get $rule $key)))) -}}
{{- end -}}
{{- end -}}
{{- if hasKey $rule "when" -}}
{{- $predicates = append $predicates (dict "predicate" (printf "[auth.identity].exists(claims, (\n%s\n))" (trim $rule.when))) -}}
{{- end -}}
{{- $predicates | toRawJson -}}
{{- end }}

{{/* Whether the token is the issuer's, for an audience, and valid already. Authorino has verified its signature and its end. */}}
{{- define "policies.kuadrant.token" -}}
{{- $names := list -}}
{{- range .Values.authentication.audiences -}}
{{- $names = append $names (regexReplaceAll `^https?://` . "" | trimSuffix "/" | regexQuoteMeta) -}}
{{- end -}}
{{- $audience := printf "^(?:https?://)?(?:%s)/?$" (join "|" $names) | toRawJson -}}
auth.identity.iss == {{ toRawJson .Values.authentication.issuer }} &&
[auth.identity.aud].exists(a, type(a) == string && a.matches({{ $audience }}) || type(a) == list && a.exists(e, e.matches({{ $audience }}))) &&
(!has(auth.identity.nbf) || auth.identity.nbf <= request.time.seconds + {{ ternary "1.0" "30.0" (hasKey .Values.authentication "clockSkew") }})
{{- end }}

{{/* Whether the acl lets the request pass. */}}
{{- define "policies.kuadrant.access" -}}
!({{ include "policies.kuadrant.anyItem" . }})
{{- range $i, $rule := .Values.acl }} ||
{{- if not (hasKey $rule "everyone") }}
{{ include "policies.kuadrant.evaluator" (list $rule $i) | quote }} in auth.authorization &&
{{- end }}
(
{{- range $j, $item := $rule.allow }}{{ if $j }} ||{{ end }}
  {{ include "policies.kuadrant.item" $item }}
{{- end }}
)
{{- end }}
{{- end }}

{{/* What the caller may have, in the format of "allow". */}}
{{- define "policies.kuadrant.allowed" -}}
{{- if not (hasKey .Values "acl") -}}
[{"server": "*"}]
{{- else -}}
dyn([])
{{- range $i, $rule := .Values.acl }} +
{{- if hasKey $rule "everyone" }}
dyn({{ toRawJson $rule.allow }})
{{- else }}
({{ include "policies.kuadrant.evaluator" (list $rule $i) | quote }} in auth.authorization ? dyn({{ toRawJson $rule.allow }}) : dyn([]))
{{- end }}
{{- end }}
{{- end -}}
{{- end }}

{{/* What refused clients are told in WWW-Authenticate, as an expression: include "policies.kuadrant.challenge" (list . "ERROR"), where ERROR is an expression. */}}
{{- define "policies.kuadrant.challenge" -}}
{{- $top := index . 0 -}}
"Bearer " + {{ index . 1 }} + {{ printf "resource_metadata=\"%s/.well-known/oauth-protected-resource/mcp" (include "mcp-gateway.publicURL" $top) | toRawJson }} +
({{ include "policies.kuadrant.has" "virtualserver" }} ? "/" + {{ include "policies.kuadrant.header" "virtualserver" }}.substring({{ include "policies.kuadrant.header" "virtualserver" }}.lastIndexOf("/") + 1) : "") +
{{- with $top.Values.kuadrant.scopes | default $top.Values.global.oauth.scopes }}
{{ printf "\", scope=\"%s\"" (join " " .) | toRawJson }}
{{- else }}
"\""
{{- end }}
{{- end }}

{{/* Which calls count against a limit. The words are in single quotes where Kuadrant puts an expression between double ones. */}}
{{- define "policies.kuadrant.counted" -}}
{{- $all := list (include "policies.kuadrant.has" "toolname") -}}
{{- range $key, $header := dict "tools" "publicname" "servers" "servername" -}}
{{- $any := list -}}
{{- range get $.limit $key | default (list "*") -}}{{- $any = append $any (include "policies.kuadrant.glob" (list $header .) | default "true") -}}{{- end -}}
{{- if not (has "true" $any) -}}{{- $all = append $all (printf "(%s)" (join " || " $any)) -}}{{- end -}}
{{- end -}}
{{- join " && " $all -}}
{{- end }}

{{/* What Kuadrant cannot express. */}}
{{- define "policies.validateForKuadrant" -}}
{{- $found := index . 0 -}}
{{- $values := (index . 1).Values -}}
{{- if not $values.global.istio.enabled -}}
{{- include "policies.refuse" (list $found "policies.engine" "is kuadrant, and global.istio.enabled is false: only where Istio's Envoy asks the router do requests come with the headers by which Kuadrant finds tokens and the calls of servers, and all would be refused. Set global.istio.enabled to true") -}}
{{- end -}}
{{- if hasKey $values "rateLimitService" -}}
{{- include "policies.refuse" (list $found "policies.rateLimitService" "the engine kuadrant counts with Kuadrant's own Limitador, for all Envoys together: take the key out") -}}
{{- end -}}
{{- with $values.authentication -}}
{{- if and (hasKey . "clockSkew") (ne (include "mcp-gateway.seconds" .clockSkew) "0") -}}
{{- include "policies.refuse" (list $found "policies.authentication.clockSkew" (printf "%q: Authorino takes a token up to its very end: take the key out, or write 0s" .clockSkew)) -}}
{{- end -}}
{{- end -}}
{{- range $i, $limit := $values.rateLimits -}}
{{- if not (regexMatch `^[0-9]+$` (include "mcp-gateway.seconds" $limit.window)) -}}
{{- include "policies.refuse" (list $found (printf "policies.rateLimits[%d].window" $i) (printf "%q: Kuadrant counts in whole seconds" $limit.window)) -}}
{{- end -}}
{{- end -}}
{{- $key := $values.kuadrant.signingKey -}}
{{- if ne (empty $key.existingSecret) (empty $key.publicKey) -}}
{{- include "policies.refuse" (list $found "policies.kuadrant.signingKey" "existingSecret and publicKey go together: the Secret has the private key, and the broker needs the public one") -}}
{{- else if and $key.publicKey (not (regexMatch `-----BEGIN (?:PUBLIC KEY|CERTIFICATE)-----` $key.publicKey)) -}}
{{- include "policies.refuse" (list $found "policies.kuadrant.signingKey.publicKey" `must be a public key or a certificate as PEM, "-----BEGIN PUBLIC KEY-----"`) -}}
{{- end -}}
{{- end }}

{{/* Only a cluster can tell whether Kuadrant is there; there is none where a chart is only rendered. */}}
{{- define "policies.kuadrant.checkCluster" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" -}}
{{- if not (.Capabilities.APIVersions.Has "kuadrant.io/v1/AuthPolicy") -}}
{{- fail "\n\nThe cluster does not know AuthPolicies, so that nothing would be enforced: install Kuadrant first, or set policies.engine to istio" -}}
{{- end -}}
{{- if and (include "policies.kuadrant.signs" .) (not (lookup "v1" "Namespace" "" .Values.kuadrant.namespace)) -}}
{{- fail (printf "\n\nThe cluster has no namespace %q, from which Authorino is to read a key: set policies.kuadrant.namespace to Kuadrant's" .Values.kuadrant.namespace) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Secret with the signing key. */}}
{{- define "policies.kuadrant.keySecret" -}}
{{ .Values.kuadrant.signingKey.existingSecret | default (printf "mcp-gateway-%s-signing-key" .Release.Namespace | trunc 253) }}
{{- end }}

{{/*
The signing key and its public half, as JSON with "private" and "public": what the cluster has, else new ones. What it made once in a rendering it says
again. The public half is a certificate, since templates cannot take it out of a key in another way; nobody asks how long that is valid.
*/}}
{{- define "policies.kuadrant.keys" -}}
{{- if not (hasKey .Values.kuadrant "keys") -}}
{{- $keys := dict "private" "" "public" .Values.kuadrant.signingKey.publicKey -}}
{{- if not .Values.kuadrant.signingKey.existingSecret -}}
{{- $data := dig "data" dict (lookup "v1" "Secret" .Values.kuadrant.namespace (include "policies.kuadrant.keySecret" .) | default dict) -}}
{{- if and (hasKey $data "key.pem") (hasKey $data "public.pem") -}}
{{- $keys = dict "private" (b64dec (get $data "key.pem")) "public" (b64dec (get $data "public.pem")) -}}
{{- else -}}
{{- $private := genPrivateKey "ecdsa" -}}
{{- $keys = dict "private" $private "public" (genSelfSignedCertWithKey "mcp-gateway" nil nil 36500 $private).Cert -}}
{{- end -}}
{{- end -}}
{{- $_ := set .Values.kuadrant "keys" $keys -}}
{{- end -}}
{{- .Values.kuadrant.keys | toRawJson -}}
{{- end }}
