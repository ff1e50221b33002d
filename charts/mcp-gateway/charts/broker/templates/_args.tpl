{{- define "mcp-gateway.brokerArgs" }}
- --config-map=$(POD_NAMESPACE)/mcp-gateway-config
- --public-url=$(PUBLIC_URL)
{{- with (.Values.global.policies | default dict).configMap }}
- --policies-config-map=$(POD_NAMESPACE)/{{ . }}
{{- end }}
{{- if .Values.global.istio.enabled }}
- --envoy-control-plane=istio
{{- end }}
- --admin-address=0.0.0.0:8090
- --log-format={{ .Values.logFormat }}
{{- if ne .Values.logLevel "info" }}
- --log-level={{ .Values.logLevel }}
{{- end }}
{{- with .Values.global.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
{{- with .Values.global.allowedOrigins }}
- --allowed-origins={{ join "," . }}
{{- end }}
{{- if ne .Values.session.idleTimeout "1h" }}
- --session-idle-timeout={{ .Values.session.idleTimeout }}
{{- end }}
{{- if ne .Values.session.maxAge "24h" }}
- --session-max-age={{ .Values.session.maxAge }}
{{- end }}
{{- if ne .Values.drainTimeout "10s" }}
- --drain-timeout={{ .Values.drainTimeout }}
{{- end }}
{{- if ne (int .Values.maxRequestBytes) 4194304 }}
- --max-request-bytes={{ int .Values.maxRequestBytes }}
{{- end }}
{{- if ne (int .Values.pageSize) 1000 }}
- --page-size={{ int .Values.pageSize }}
{{- end }}
{{- with .Values.consent.clientID }}
- --consent-client-id={{ . }}
{{- end }}
{{- with .Values.trustedAuthorizer }}
{{- if .existingSecret }}
- --trusted-authorizer-key-file=/etc/mcp-gateway/trusted-authorizer/{{ .key }}
{{- with .issuer }}
- --trusted-authorizer-issuer={{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "mcp-gateway.brokerEnv" }}
# The gateway's URL as clients know it, without a path.
- {name: PUBLIC_URL, value: {{ include "mcp-gateway.publicURL" . | quote }}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
# Until there is one, the pod waits.
- name: MCP_GATEWAY_SESSION_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.sessionKey.existingSecret | default "mcp-gateway-session-key" }}, key: key}}
{{- with .Values.global.oauth.resourceName }}
- {name: OAUTH_RESOURCE_NAME, value: {{ . | quote }}}
{{- end }}
{{- with .Values.global.oauth.resource }}
- {name: OAUTH_RESOURCE, value: {{ . | quote }}}
{{- end }}
{{- with .Values.global.oauth.authorizationServers }}
- {name: OAUTH_AUTHORIZATION_SERVERS, value: {{ join "," . | quote }}}
{{- end }}
{{- with .Values.global.oauth.bearerMethods }}
- {name: OAUTH_BEARER_METHODS_SUPPORTED, value: {{ join "," . | quote }}}
{{- end }}
{{- with .Values.global.oauth.scopes }}
- {name: OAUTH_SCOPES_SUPPORTED, value: {{ join "," . | quote }}}
{{- end }}
{{- with .Values.consent.existingSecret }}
- name: MCP_GATEWAY_CONSENT_CLIENT_SECRET
  valueFrom: {secretKeyRef: {name: {{ . }}, key: client-secret}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
