{{/* The rules of the AuthPolicy, in the order in which Authorino goes through them. */}}
{{- define "policies.kuadrant.rules" -}}
{{- $authentication := .Values.authentication -}}
authentication:
  {{- if $authentication }}
  token:
    # The router says the token here if it came in the one form that counts.
    credentials:
      customHeader: {name: x-mcp-token}
    jwt:
      {{- with $authentication.jwksURI }}
      jwksUrl: {{ toRawJson . }}
      {{- else }}
      issuerUrl: {{ toRawJson $authentication.issuer }}
      {{- end }}
    # Authorino asks neither whose token it is nor for whom. An expression without a value refuses it like a bad signature does, with 401.
    overrides:
      iss:
        expression: |-
          {{- printf "(%s)\n? auth.identity.iss : [][0]" (include "policies.kuadrant.token" .) | nindent 10 }}
  {{- else }}
  anybody:
    anonymous: {}
  {{- end }}
authorization:
  # Where identities cannot refuse a token, this does.
  {{- if $authentication }}
  token:
    patternMatching:
      patterns:
        - predicate: |-
            {{- include "policies.kuadrant.token" . | nindent 12 }}
  {{- end }}
  {{- range $i, $rule := .Values.acl }}
  {{- if not (hasKey $rule "everyone") }}
  # Whether the caller is one of those whom this rule is for. What cannot be evaluated means that it is not.
  {{ include "policies.kuadrant.evaluator" (list $rule $i) }}:
    when:
      {{- range include "policies.kuadrant.callers" (list $ $rule) | fromJsonArray }}
      - predicate: |-
          {{- .predicate | nindent 10 }}
      {{- end }}
    patternMatching:
      patterns:
        - predicate: "true"
  {{- end }}
  {{- end }}
  {{- if hasKey .Values "acl" }}
  # Whether one of the caller's rules allows what is asked for. Requests that name no item are for everybody.
  access:
    priority: 1
    patternMatching:
      patterns:
        - predicate: |-
            {{- include "policies.kuadrant.access" . | nindent 12 }}
  {{- end }}
response:
  {{- if $authentication }}
  unauthenticated:
    code: 401
    message: {value: the access token is missing or not accepted}
    headers:
      content-type: {value: application/json}
      www-authenticate:
        expression: |-
          {{- include "policies.kuadrant.challenge" (list . `("authorization" in request.headers ? "error=\"invalid_token\", " : "")`) | nindent 10 }}
    body: {value: '{"jsonrpc":"2.0","error":{"code":401,"message":"authentication is needed"}}'}
  {{- end }}
  unauthorized:
    code: 403
    message: {value: this request is not allowed}
    headers:
      content-type: {value: application/json}
      {{- if $authentication }}
      www-authenticate:
        expression: |-
          {{- include "policies.kuadrant.challenge" (list . `"error=\"insufficient_scope\", "`) | nindent 10 }}
      {{- end }}
    body: {value: '{"jsonrpc":"2.0","error":{"code":403,"message":"this request is not allowed"}}'}
  success:
    {{- if include "policies.kuadrant.signs" . }}
    headers:
      # What the caller may have, for the broker, which shows nothing else. It is for what goes to the broker only.
      x-mcp-authorized:
        when:
          - predicate: {{ printf "%s && %s == \"mcp_broker\"" (include "policies.kuadrant.has" "cluster") (include "policies.kuadrant.header" "cluster") | squote }}
        wristband:
          issuer: mcp-gateway
          customClaims:
            allow:
              expression: |-
                {{- include "policies.kuadrant.allowed" . | nindent 16 }}
          tokenDuration: 300
          signingKeyRefs:
            - {name: {{ include "policies.kuadrant.keySecret" . }}, algorithm: ES256}
    {{- end }}
    filters:
      # For the RateLimitPolicy: who calls. Tokens without a subject share a budget.
      identity:
        json:
          properties:
            sub: {expression: 'has(auth.identity.sub) && type(auth.identity.sub) == string && auth.identity.sub != "" ? auth.identity.sub : "-"'}
{{- end }}
