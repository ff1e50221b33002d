{{/* The name of everything. */}}
{{- define "keycloak.name" -}}
mcp-gateway-keycloak
{{- end }}

{{/* Labels by which the pods are known. */}}
{{- define "keycloak.selector" -}}
app.kubernetes.io/name: {{ include "keycloak.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The host of the URL, without its port. */}}
{{- define "keycloak.hostname" -}}
{{ get (urlParse .Values.instance.url) "hostname" }}
{{- end }}

{{/* The URL by which pods reach the installed Keycloak. */}}
{{- define "keycloak.internalURL" -}}
http://{{ include "keycloak.name" . }}.{{ .Release.Namespace }}.svc:8080
{{- end }}

{{/* The Secret with the administrator of the installed Keycloak. */}}
{{- define "keycloak.adminSecret" -}}
{{ .Values.instance.admin.existingSecret | default (printf "%s-admin" (include "keycloak.name" .)) }}
{{- end }}

{{/*
The realm as JSON. In a cluster a registration comes from the Gateway's pod, so that where it comes from tells nothing: what counts is where the client's
URLs lead to.
*/}}
{{- define "keycloak.realm" -}}
{{- $realm := .Files.Get "files/mcp-realm.json" | fromJson -}}
{{- $_ := set $realm "realm" .Values.realm.name -}}
{{- if not .Values.realm.exampleUsers -}}
  {{- $_ := unset $realm "users" -}}
{{- end -}}
{{- range get $realm.components "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy" -}}
  {{- if eq .providerId "trusted-hosts" -}}
    {{- $_ := set . "name" "Clients of trusted hosts only" -}}
    {{- $_ := set . "config" (dict "trusted-hosts" $.Values.realm.trustedHosts "host-sending-registration-request-must-match" (list "false") "client-uris-must-match" (list "true")) -}}
  {{- end -}}
{{- end -}}
{{- if .Values.realm.statusPageClients -}}
  {{- $more := .Files.Get "files/status-page-clients.json" | replace "https://status.example.com" (include "mcp-gateway.statusPageOrigin" .) | fromJson -}}
  {{- $_ := set $realm "clients" (concat $realm.clients $more.clients) -}}
{{- end -}}
{{- mergeOverwrite $realm (deepCopy .Values.realm.overrides) | toPrettyJson -}}
{{- end }}

{{/* What cannot be right, in a sentence each. */}}
{{- define "keycloak.check" -}}
{{- if and .Values.realmImport.enabled (not .Values.instance.enabled) -}}
  {{- if not .Values.realmImport.url -}}
    {{- fail "keycloak.realmImport.url is empty, and no Keycloak is installed: give the URL of yours, or set keycloak.instance.enabled or keycloak.enabled accordingly" -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.realmImport.enabled .Values.realmImport.url (not .Values.realmImport.admin.existingSecret) -}}
  {{- fail "keycloak.realmImport.admin.existingSecret is empty: name the Secret with \"username\" and \"password\" of an administrator of your Keycloak" -}}
{{- end -}}
{{- if and .Values.realmImport.url .Values.instance.enabled -}}
  {{- fail "keycloak.realmImport.url is set, and a Keycloak is installed as well: set keycloak.instance.enabled to false to use yours, or leave the URL empty" -}}
{{- end -}}
{{- if and .Values.realm.statusPageClients (not (include "mcp-gateway.statusPageOrigin" .)) -}}
  {{- fail "keycloak.realm.statusPageClients is true, and there is no status page that one could log in to: set global.statusPage.enabled and global.statusPage.hostname, or statusPageClients to false" -}}
{{- end -}}
{{- if .Values.realm.exampleUsers -}}
  {{- $host := include "keycloak.hostname" . -}}
  {{- if .Values.realmImport.url -}}
    {{- fail "keycloak.realm.exampleUsers is true, and keycloak.realmImport.url is set: users whose passwords everybody knows come into no Keycloak of yours. Set exampleUsers to false, or leave the URL empty" -}}
  {{- else if not (regexMatch `^(localhost|127\.0\.0\.1|\[?::1\]?|(.+\.)?127-0-0-1\.sslip\.io)$` $host) -}}
    {{- fail (printf "keycloak.realm.exampleUsers is true, and others can reach %q: users whose passwords everybody knows are for a keycloak.instance.url of this machine alone, such as http://localhost:8889. Set exampleUsers to false, or change the URL" $host) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.instance.enabled (has (include "keycloak.hostname" .) .Values.global.hostnames) -}}
  {{- fail (printf "keycloak.instance.url has the hostname %q of the MCP endpoint: give Keycloak a hostname of its own" (include "keycloak.hostname" .)) -}}
{{- end -}}
{{- end }}
