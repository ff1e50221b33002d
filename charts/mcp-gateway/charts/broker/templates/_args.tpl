{{/* What no schema can say of the broker: a pod needs its time to end in, and a store one place where its URL is. */}}
{{- define "mcp-gateway.checkBroker" }}
{{- $needed := addf (include "mcp-gateway.seconds" .Values.shutdownDelay | float64) (include "mcp-gateway.seconds" .Values.drainTimeout | float64) 5 }}
{{- if lt (float64 .Values.terminationGracePeriodSeconds) $needed }}
{{- fail (printf "\n\nbroker.terminationGracePeriodSeconds is %d, and a pod that is told to stop serves for %s (broker.shutdownDelay), lets calls end for %s (broker.drainTimeout), and needs 5s to end: set it to %.0f or more" (int .Values.terminationGracePeriodSeconds) .Values.shutdownDelay .Values.drainTimeout (ceil $needed)) }}
{{- end }}
{{- with .Values.store }}
{{- if and .url .existingSecret }}
{{- fail (printf "\n\nbroker.store.url and broker.store.existingSecret (%s) both say where the store is: keep one of them" .existingSecret) }}
{{- end }}
{{- if contains "@" .url }}
{{- fail "\n\nbroker.store.url has a user or a password, which whoever may see Deployments could read: put the URL into a Secret, and name that in broker.store.existingSecret" }}
{{- end }}
{{- if and .url (not (regexMatch `^rediss?(\+(sentinel|cluster))?://.` .url)) }}
{{- fail (printf "\n\nbroker.store.url is %q: it must begin with redis://, redis+sentinel:// or redis+cluster://, with rediss in place of redis for TLS" .url) }}
{{- end }}
{{- if and .ca.existingSecret .ca.configMap }}
{{- fail (printf "\n\nbroker.store.ca.existingSecret (%s) and broker.store.ca.configMap (%s) both have root certificates: keep one of them" .ca.existingSecret .ca.configMap) }}
{{- end }}
{{- if and .clientCertificate.existingSecret (not .existingSecret) (not (hasPrefix "rediss" .url)) }}
{{- fail (printf "\n\nbroker.store.clientCertificate is for a store with TLS, and broker.store.url is %q: it would begin with rediss" .url) }}
{{- end }}
{{- if and .sentinel.existingSecret (not .existingSecret) (not (contains "+sentinel://" .url)) }}
{{- fail (printf "\n\nbroker.store.sentinel has a password of sentinels, and broker.store.url is %q: it would begin with redis+sentinel or rediss+sentinel" .url) }}
{{- end }}
{{- if and (or .ca.existingSecret .ca.configMap) (not .existingSecret) (not (hasPrefix "rediss" .url)) }}
{{- fail (printf "\n\nbroker.store.ca has root certificates for a store with TLS, and broker.store.url is %q: it would begin with rediss" .url) }}
{{- end }}
{{- end }}
{{- end }}

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
{{- with .Values.global.statusPage }}
{{- if .enabled }}
- --status-page-address=0.0.0.0:8091
{{- range $who := list "users" "groups" "roles" }}
{{- with get $.Values.global.statusPage $who }}
- {{ printf "--status-page-%s=%s" $who (join "," .) | quote }}
{{- end }}
{{- end }}
{{- with .cookie }}
- {{ printf "--status-page-cookie=%s" . | quote }}
{{- end }}
{{- with .consoleClientID }}
- {{ printf "--console-client-id=%s" . | quote }}
{{- end }}
{{- if and .login.service .login.signOut }}
- {{ printf "--status-page-sign-out=%s" .login.signOut | quote }}
{{- end }}
{{- end }}
{{- end }}
# What waits for input in this pod is handed over to it by others, those of a rollout included.
- --replica-url=$(POD_IP)
{{- with .Values.store }}
{{- with .url }}
- --store-url={{ . }}
{{- end }}
{{- if or .ca.existingSecret .ca.configMap }}
- --store-ca-file=/etc/mcp-gateway/store/{{ .ca.key }}
{{- end }}
{{- if .clientCertificate.existingSecret }}
- --store-cert-file=/etc/mcp-gateway/store-client/tls.crt
- --store-key-file=/etc/mcp-gateway/store-client/tls.key
{{- end }}
{{- end }}
- --log-format={{ .Values.logFormat }}
{{- if ne .Values.logLevel "info" }}
- --log-level={{ .Values.logLevel }}
{{- end }}
{{- with .Values.global.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
{{- with include "mcp-gateway.allowedOrigins" . }}
- --allowed-origins={{ . }}
{{- end }}
{{- if ne .Values.session.idleTimeout "1h" }}
- --session-idle-timeout={{ .Values.session.idleTimeout }}
{{- end }}
{{- if ne .Values.session.maxAge "24h" }}
- --session-max-age={{ .Values.session.maxAge }}
{{- end }}
{{- if ne (int .Values.session.max) 100000 }}
- --max-sessions={{ int .Values.session.max }}
{{- end }}
- --shutdown-delay={{ .Values.shutdownDelay }}
{{- if ne .Values.drainTimeout "10s" }}
- --drain-timeout={{ .Values.drainTimeout }}
{{- end }}
{{- if ne (int .Values.maxRequestBytes) 4194304 }}
- --max-request-bytes={{ int .Values.maxRequestBytes }}
{{- end }}
{{- if ne (int .Values.pageSize) 1000 }}
- --page-size={{ int .Values.pageSize }}
{{- end }}
{{- if int .Values.toolSearchThreshold }}
- --tool-search-threshold={{ int .Values.toolSearchThreshold }}
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
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
# Until there is one, the pod waits.
- name: MCP_GATEWAY_SESSION_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.sessionKey.existingSecret | default "mcp-gateway-session-key" }}, key: key}}
{{- with .Values.store }}
{{- if .existingSecret }}
- name: MCP_GATEWAY_STORE_URL
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .key }}}}
{{- end }}
{{- with .sentinel.existingSecret }}
- name: MCP_GATEWAY_STORE_SENTINEL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}
- name: MCP_GATEWAY_STORE_SENTINEL_USER
  valueFrom: {secretKeyRef: {name: {{ . }}, key: user, optional: true}}
{{- end }}
{{- end }}
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
