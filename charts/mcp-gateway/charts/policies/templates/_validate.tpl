{{/*
What is wrong with the policy values is told as the gateway itself tells it of a file for --policies: all problems at once, each with its field.
*/}}

{{/* Fails if the values are not right. Whoever makes an object of them includes it first. */}}
{{- define "policies.validate" -}}
{{- $found := dict "problems" list -}}
{{- include "policies.validateKinds" (list $found .Values) -}}
{{- if not $found.problems -}}
{{- $authenticated := hasKey .Values "authentication" -}}
{{- if $authenticated -}}{{- include "policies.validateAuthentication" (list $found .Values.authentication) -}}{{- end -}}
{{- include "policies.validateRules" (list $found .Values $authenticated) -}}
{{- include "policies.validateLimits" (list $found .Values $authenticated) -}}
{{- end -}}
{{- if and (not $found.problems) (eq .Values.engine "kuadrant") -}}
{{- include "policies.validateForKuadrant" (list $found .) -}}
{{- end -}}
{{- if and (not $found.problems) (eq .Values.engine "istio") -}}
{{- include "policies.validateForIstio" (list $found .) -}}
{{- end -}}
{{- with $found.problems -}}{{- fail (printf "the policies cannot be used:\n%s\n" (join "\n" .)) -}}{{- end -}}
{{- end }}

{{/* Reports a problem: include "policies.refuse" (list FOUND "policies.acl[0]" "what is wrong"). */}}
{{- define "policies.refuse" -}}
{{- $_ := set (index . 0) "problems" (append (index . 0).problems (printf "%s: %s" (index . 1) (index . 2))) -}}
{{- end }}

{{/* What a key is that must be a list or a mapping, and is not. */}}
{{- define "policies.validateKinds" -}}
{{- $found := index . 0 -}}
{{- $values := index . 1 -}}
{{- range $key, $kind := dict "authentication" "map" "acl" "slice" "rateLimits" "slice" "rateLimitService" "map" -}}
{{- if hasKey $values $key -}}
{{- $want := ternary "a mapping" "a list" (eq $kind "map") -}}
{{- if kindIs "invalid" (get $values $key) -}}
{{- include "policies.refuse" (list $found (printf "policies.%s" $key) (printf "has no value; it must be %s, or take the key out" $want)) -}}
{{- else if not (kindIs $kind (get $values $key)) -}}
{{- include "policies.refuse" (list $found (printf "policies.%s" $key) (printf "must be %s" $want)) -}}
{{- else if eq $kind "slice" -}}
{{- range $i, $item := get $values $key -}}
{{- if not (kindIs "map" $item) -}}
{{- include "policies.refuse" (list $found (printf "policies.%s[%d]" $key $i) "must be a mapping") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Reports keys that are not among those that there are: include "policies.validateKeys" (list FOUND PATH MAPPING (list "key" …)). */}}
{{- define "policies.validateKeys" -}}
{{- $keys := index . 3 -}}
{{- range $key := keys (index . 2) | sortAlpha -}}
{{- if not (has $key $keys) -}}
{{- include "policies.refuse" (list (index $ 0) (printf "%s.%s" (index $ 1) $key) (printf "unknown key; the keys here are %s" (join ", " $keys))) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Reports what is no string with something in it: include "policies.validateText" (list FOUND PATH VALUE). */}}
{{- define "policies.validateText" -}}
{{- $value := index . 2 -}}
{{- if not (kindIs "string" $value) -}}
{{- include "policies.refuse" (list (index . 0) (index . 1) (printf "must be a string, not %v; text that looks like something else needs quotes" $value)) -}}
{{- else if not $value -}}
{{- include "policies.refuse" (list (index . 0) (index . 1) "is empty") -}}
{{- else if regexMatch `[\x00-\x1f\x7f-\x{9f}]` $value -}}
{{- include "policies.refuse" (list (index . 0) (index . 1) (printf "%q has control characters" $value)) -}}
{{- end -}}
{{- end }}

{{/* Reports what is no list of strings: include "policies.validateTexts" (list FOUND PATH VALUE OF), where OF is what the strings are. */}}
{{- define "policies.validateTexts" -}}
{{- $found := index . 0 -}}
{{- $path := index . 1 -}}
{{- if not (kindIs "slice" (index . 2)) -}}
{{- include "policies.refuse" (list $found $path (printf "must be a list of %s" (index . 3))) -}}
{{- else if not (index . 2) -}}
{{- include "policies.refuse" (list $found $path (printf "is empty; a list of %s must have at least one" (index . 3))) -}}
{{- else -}}
{{- range $i, $text := index . 2 -}}
{{- include "policies.validateText" (list $found (printf "%s[%d]" $path $i) $text) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "policies.validateURL" -}}
{{- $url := index . 2 -}}
{{- if not (kindIs "string" $url) -}}
{{- include "policies.refuse" (list (index . 0) (index . 1) "must be an absolute http or https URL") -}}
{{- else if not (regexMatch `^[hH][tT][tT][pP][sS]?://[^/?#@\x00-\x20\x7f]+(?:[/?][^#\x00-\x1f\x7f]*)?$` $url) -}}
{{- include "policies.refuse" (list (index . 0) (index . 1) "must be an absolute http or https URL, without user, password and fragment") -}}
{{- end -}}
{{- end }}

{{- define "policies.validateAuthentication" -}}
{{- $found := index . 0 -}}
{{- $a := index . 1 -}}
{{- $at := "policies.authentication" -}}
{{- include "policies.validateKeys" (list $found $at $a (list "issuer" "audiences" "jwksURI" "clockSkew" "claims")) -}}
{{- range $key := list "issuer" "audiences" -}}
{{- if not (hasKey $a $key) -}}{{- include "policies.refuse" (list $found $at (printf "the key %q is missing" $key)) -}}{{- end -}}
{{- end -}}
{{- range $key := list "issuer" "jwksURI" -}}
{{- if hasKey $a $key -}}{{- include "policies.validateURL" (list $found (printf "%s.%s" $at $key) (get $a $key)) -}}{{- end -}}
{{- end -}}
{{- if hasKey $a "audiences" -}}{{- include "policies.validateTexts" (list $found (printf "%s.audiences" $at) $a.audiences "audiences") -}}{{- end -}}
{{- if hasKey $a "clockSkew" -}}{{- include "policies.validateDuration" (list $found (printf "%s.clockSkew" $at) $a.clockSkew "0s" "5m") -}}{{- end -}}
{{- if hasKey $a "claims" -}}
{{- if not (kindIs "map" $a.claims) -}}
{{- include "policies.refuse" (list $found (printf "%s.claims" $at) "must be a mapping with user, groups, roles or scopes") -}}
{{- else -}}
{{- include "policies.validateKeys" (list $found (printf "%s.claims" $at) $a.claims (list "user" "groups" "roles" "scopes")) -}}
{{- range $key, $path := $a.claims -}}
{{- $field := printf "%s.claims.%s" $at $key -}}
{{- if kindIs "slice" $path -}}
{{- include "policies.validateTexts" (list $found $field $path "names of claims") -}}
{{- else -}}
{{- include "policies.validateText" (list $found $field $path) -}}
{{- if and (kindIs "string" $path) (has "" (splitList "." (toString $path))) $path -}}
{{- include "policies.refuse" (list $found $field (printf "%q has an empty name between its dots; write a list of names for a claim whose name has dots" $path)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* include "policies.validateDuration" (list FOUND PATH VALUE LEAST MOST) */}}
{{- define "policies.validateDuration" -}}
{{- $value := index . 2 -}}
{{- $seconds := "" -}}
{{- if kindIs "string" $value -}}{{- $seconds = include "mcp-gateway.seconds" $value -}}{{- end -}}
{{- if not $seconds -}}
{{- include "policies.refuse" (list (index . 0) (index . 1) (printf "%v is not a duration; write a number with its unit, as in 30s or 1m30s" $value)) -}}
{{- else if or (lt (float64 $seconds) (include "mcp-gateway.seconds" (index . 3) | float64)) (gt (float64 $seconds) (include "mcp-gateway.seconds" (index . 4) | float64)) -}}
{{- include "policies.refuse" (list (index . 0) (index . 1) (printf "%q must be from %s to %s" $value (index . 3) (index . 4))) -}}
{{- end -}}
{{- end }}

{{/* The names of rules or limits: include "policies.validateName" (list FOUND PATH ITEM "rule" INDEX TAKEN). */}}
{{- define "policies.validateName" -}}
{{- $found := index . 0 -}}
{{- $path := index . 1 -}}
{{- $item := index . 2 -}}
{{- $taken := index . 5 -}}
{{- if and (hasKey $item "name") (not (regexMatch `^[A-Za-z0-9_.-]{1,63}$` (toString $item.name))) -}}
{{- include "policies.refuse" (list $found (printf "%s.name" $path) (printf "%q must be made of 1 to 63 letters, digits and _ - ." (toString $item.name))) -}}
{{- else -}}
{{- $name := include "policies.name" (list $item (index . 3) (index . 4)) -}}
{{- if hasKey $taken $name -}}
{{- include "policies.refuse" (list $found $path (printf "the name %q is already that of %s" $name (get $taken $name))) -}}
{{- end -}}
{{- $_ := set $taken $name $path -}}
{{- end -}}
{{- end }}

{{- define "policies.validateRules" -}}
{{- $found := index . 0 -}}
{{- $authenticated := index . 2 -}}
{{- $taken := dict -}}
{{- range $i, $rule := (index . 1).acl -}}
{{- $at := printf "policies.acl[%d]" $i -}}
{{- include "policies.validateKeys" (list $found $at $rule (list "name" "users" "groups" "roles" "scopes" "when" "everyone" "allow")) -}}
{{- include "policies.validateName" (list $found $at $rule "rule" $i $taken) -}}
{{- include "policies.validateCallers" (list $found $at $rule $authenticated) -}}
{{- if not (hasKey $rule "allow") -}}
{{- include "policies.refuse" (list $found $at `the key "allow" is missing`) -}}
{{- else if not (kindIs "slice" $rule.allow) -}}
{{- include "policies.refuse" (list $found (printf "%s.allow" $at) "must be a list of items that are allowed") -}}
{{- else if not $rule.allow -}}
{{- include "policies.refuse" (list $found (printf "%s.allow" $at) "is empty; a list of items that are allowed must have at least one") -}}
{{- else -}}
{{- range $j, $item := $rule.allow -}}
{{- include "policies.validateItem" (list $found (printf "%s.allow[%d]" $at $j) $item) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* For whom a rule is. */}}
{{- define "policies.validateCallers" -}}
{{- $found := index . 0 -}}
{{- $at := index . 1 -}}
{{- $rule := index . 2 -}}
{{- $given := 0 -}}
{{- range $key := list "users" "groups" "roles" "scopes" "when" "everyone" -}}
{{- if hasKey $rule $key -}}
{{- $given = add1 $given -}}
{{- $field := printf "%s.%s" $at $key -}}
{{- if and (ne $key "everyone") (not (index $ 3)) -}}
{{- include "policies.refuse" (list $found $field `needs verified callers: add policies.authentication, or write "everyone: true" instead`) -}}
{{- end -}}
{{- if eq $key "everyone" -}}
{{- if ne (toJson (get $rule $key)) "true" -}}
{{- include "policies.refuse" (list $found $field "must be true; take the key out and say whom the rule is for") -}}
{{- end -}}
{{- else if eq $key "when" -}}
{{- include "policies.validateCondition" (list $found $field (get $rule $key)) -}}
{{- else -}}
{{- include "policies.validateTexts" (list $found $field (get $rule $key) $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $i, $scope := $rule.scopes -}}
{{- if contains " " (toString $scope) -}}
{{- include "policies.refuse" (list $found (printf "%s.scopes[%d]" $at $i) (printf "%q has a space in it; write one scope in each item of the list" $scope)) -}}
{{- end -}}
{{- end -}}
{{- if not $given -}}
{{- include "policies.refuse" (list $found $at "says nothing about whom it is for: add users, groups, roles, scopes, when, or everyone: true") -}}
{{- else if and (hasKey $rule "everyone") (gt (int $given) 1) -}}
{{- include "policies.refuse" (list $found (printf "%s.everyone" $at) "stands beside other conditions; take it out, or take them out") -}}
{{- end -}}
{{- end }}

{{- define "policies.validateGlob" -}}
{{- include "policies.validateText" . -}}
{{- $glob := index . 2 -}}
{{- if and (kindIs "string" $glob) (not (regexMatch `^(?:\*|\*?[^*]+|[^*]+\*)?$` (toString $glob))) -}}
{{- include "policies.refuse" (list (index . 0) (index . 1) (printf `%q must have at most one "*", at its beginning or its end` $glob)) -}}
{{- end -}}
{{- end }}

{{/* One item of "allow". */}}
{{- define "policies.validateItem" -}}
{{- $found := index . 0 -}}
{{- $at := index . 1 -}}
{{- $item := index . 2 -}}
{{- if not (kindIs "map" $item) -}}
{{- include "policies.validateGlob" . -}}
{{- else if not $item -}}
{{- include "policies.refuse" (list $found $at `is empty; to allow everything of every server, write {server: "*"}`) -}}
{{- else -}}
{{- include "policies.validateKeys" (list $found $at $item (list "server" "tool" "prompt" "resource" "hints")) -}}
{{- $kinds := list -}}
{{- range $key := list "server" "tool" "prompt" "resource" -}}
{{- if hasKey $item $key -}}
{{- include "policies.validateGlob" (list $found (printf "%s.%s" $at $key) (get $item $key)) -}}
{{- if ne $key "server" -}}{{- $kinds = append $kinds $key -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (len $kinds) 1 -}}
{{- include "policies.refuse" (list $found $at (printf "has %s; write an item for each" (join " and " $kinds))) -}}
{{- end -}}
{{- if hasKey $item "hints" -}}
{{- $field := printf "%s.hints" $at -}}
{{- if and $kinds (not (has "tool" $kinds)) -}}
{{- include "policies.refuse" (list $found $field "only tools have hints; a prompt or a resource has none") -}}
{{- end -}}
{{- if or (not (kindIs "map" $item.hints)) (not $item.hints) -}}
{{- include "policies.refuse" (list $found $field "must have at least one of readOnly, destructive, idempotent and openWorld") -}}
{{- else -}}
{{- include "policies.validateKeys" (list $found $field $item.hints (list "readOnly" "destructive" "idempotent" "openWorld")) -}}
{{- range $hint, $set := $item.hints -}}
{{- if not (kindIs "bool" $set) -}}{{- include "policies.refuse" (list $found (printf "%s.%s" $field $hint) "must be true or false") -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
A condition. The gateway parses it; here it is looked at word by word, so that what is refused there is not in force elsewhere: strings are taken out
first, then calls and brackets from the innermost to the outermost.
*/}}
{{- define "policies.validateCondition" -}}
{{- $found := index . 0 -}}
{{- $at := index . 1 -}}
{{- $when := index . 2 -}}
{{- if not (kindIs "string" $when) -}}
{{- include "policies.refuse" (list $found $at "must be a CEL expression, in quotes if need be") -}}
{{- else if not (trim $when) -}}
{{- include "policies.refuse" (list $found $at "is empty; it must be a CEL expression over claims") -}}
{{- else if gt (len $when) 4096 -}}
{{- include "policies.refuse" (list $found $at "is longer than 4096 characters") -}}
{{- else -}}
{{- $rest := regexReplaceAll `(?s)[rR]?(?:"""(?:\\.|[^\\])*?"""|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')` $when ` "" ` -}}
{{- $rest = regexReplaceAll `//[^\n]*` $rest " " -}}
{{- $bare := $rest -}}
{{- range until 50 -}}
{{- $bare = regexReplaceAll `\([^()\[\]]*\)|\[[^()\[\]]*\]` $bare " " -}}
{{- end -}}
{{- if or (regexMatch `["'\x60]` (replace `""` "" $rest)) (regexMatch `[()\[\]]` $bare) -}}
{{- include "policies.refuse" (list $found $at (printf "%q has a bracket or a quote too much, or one missing" $when)) -}}
{{- else -}}
{{- $functions := list "has" "size" "startsWith" "endsWith" "contains" "matches" -}}
{{- range $call := regexFindAll `[A-Za-z_][A-Za-z0-9_]*\s*\(` $rest -1 | uniq -}}
{{- $name := regexFind `^[A-Za-z0-9_]+` $call -}}
{{- if not (has $name (append $functions "in")) -}}
{{- include "policies.refuse" (list $found $at (printf "the function %s is not available; use %s and in" $name (join ", " $functions))) -}}
{{- end -}}
{{- end -}}
{{- range $word := regexFindAll `(?:\.\s*)?[A-Za-z_][A-Za-z0-9_]*\s*\(?` (regexReplaceAll `\b(?:[0-9][0-9.]*(?:[eE][+-]?[0-9]+)?[uU]?|0x[0-9a-fA-F]+[uU]?)\b` $rest " ") -1 | uniq -}}
{{- if not (or (hasPrefix "." $word) (hasSuffix "(" $word) (has (trim $word) (list "claims" "true" "false" "null" "in"))) -}}
{{- include "policies.refuse" (list $found $at (printf "%s is not known; the one variable is claims" (trim $word))) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch `[+*/%{}]|[A-Za-z0-9_)\]"]\s*-|-\s*[A-Za-z("\[]` (regexReplaceAll `[eE][+-][0-9]+` $rest "") -}}
{{- include "policies.refuse" (list $found $at (printf "%q computes something; use comparisons, in, &&, ||, ! and ?:" $when)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "policies.validateLimits" -}}
{{- $found := index . 0 -}}
{{- $values := index . 1 -}}
{{- $authenticated := index . 2 -}}
{{- $taken := dict -}}
{{- range $i, $limit := $values.rateLimits -}}
{{- $at := printf "policies.rateLimits[%d]" $i -}}
{{- include "policies.validateKeys" (list $found $at $limit (list "name" "tools" "servers" "per" "limit" "window")) -}}
{{- include "policies.validateName" (list $found $at $limit "limit" $i $taken) -}}
{{- range $key := list "limit" "window" -}}
{{- if not (hasKey $limit $key) -}}{{- include "policies.refuse" (list $found $at (printf "the key %q is missing" $key)) -}}{{- end -}}
{{- end -}}
{{- range $key := list "tools" "servers" -}}
{{- if hasKey $limit $key -}}
{{- include "policies.validateTexts" (list $found (printf "%s.%s" $at $key) (get $limit $key) "globs") -}}
{{- if kindIs "slice" (get $limit $key) -}}
{{- range $j, $glob := get $limit $key -}}
{{- if and (kindIs "string" $glob) $glob -}}{{- include "policies.validateGlob" (list $found (printf "%s.%s[%d]" $at $key $j) $glob) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey $limit "limit" -}}
{{- if not (regexMatch `^[1-9][0-9]{0,9}$` (toJson $limit.limit)) -}}
{{- include "policies.refuse" (list $found (printf "%s.limit" $at) (printf "%v must be a plain whole number from 1 to 4294967295" $limit.limit)) -}}
{{- else if gt (int64 $limit.limit) 4294967295 -}}
{{- include "policies.refuse" (list $found (printf "%s.limit" $at) (printf "%d must be a plain whole number from 1 to 4294967295" (int64 $limit.limit))) -}}
{{- end -}}
{{- end -}}
{{- if hasKey $limit "window" -}}
{{- include "policies.validateDuration" (list $found (printf "%s.window" $at) $limit.window "1s" "24h") -}}
{{- if and (hasKey $values "rateLimitService") (kindIs "string" $limit.window) -}}
{{- if not (has (include "mcp-gateway.seconds" $limit.window) (list "1" "60" "3600" "86400")) -}}
{{- include "policies.refuse" (list $found (printf "%s.window" $at) (printf "%q is nothing that a rate limit service counts in: with policies.rateLimitService it must be 1s, 1m, 1h or 24h" $limit.window)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey $limit "per" -}}{{- include "policies.validatePer" (list $found (printf "%s.per" $at) $limit.per $authenticated) -}}{{- end -}}
{{- end -}}
{{- end }}

{{- define "policies.validatePer" -}}
{{- $found := index . 0 -}}
{{- $at := index . 1 -}}
{{- $words := index . 2 -}}
{{- $authenticated := index . 3 -}}
{{- if not (kindIs "slice" $words) -}}{{- $words = list $words -}}{{- end -}}
{{- if not $words -}}{{- include "policies.refuse" (list $found $at "is empty; it must have at least one of user, tool and server") -}}{{- end -}}
{{- if ne (len $words) (len (uniq $words)) -}}{{- include "policies.refuse" (list $found $at "has a word twice") -}}{{- end -}}
{{- range $word := $words -}}
{{- if not (has $word (list "user" "tool" "server")) -}}
{{- include "policies.refuse" (list $found $at (printf "%q must be user, tool or server" (toString $word))) -}}
{{- else if and (eq $word "user") (not $authenticated) -}}
{{- include "policies.refuse" (list $found $at "needs users: add policies.authentication, or take it out") -}}
{{- end -}}
{{- end -}}
{{- end }}
