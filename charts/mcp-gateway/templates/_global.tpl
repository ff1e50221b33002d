{{/*
Templates that every subchart uses. They read .Values.global and .Release alone, so that they say the same wherever they are included.
*/}}

{{/* The reference of the image of broker, router and controller. */}}
{{- define "mcp-gateway.image" -}}
{{- with .Values.global.image -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The namespace of the Gateway. */}}
{{- define "mcp-gateway.gatewayNamespace" -}}
{{ .Values.global.gateway.namespace | default .Release.Namespace }}
{{- end }}

{{/* The hostname that clients know the endpoint by. */}}
{{- define "mcp-gateway.hostname" -}}
{{ first .Values.global.hostnames }}
{{- end }}

{{/* The URL of the gateway as clients know it, without a path. */}}
{{- define "mcp-gateway.publicURL" -}}
{{- $gateway := .Values.global.gateway -}}
{{- if .Values.global.publicURL -}}
{{ trimSuffix "/" .Values.global.publicURL }}
{{- else if $gateway.https.enabled -}}
https://{{ include "mcp-gateway.hostname" . }}{{ if ne (int $gateway.https.port) 443 }}:{{ $gateway.https.port }}{{ end }}
{{- else -}}
http://{{ include "mcp-gateway.hostname" . }}{{ if ne (int $gateway.http.port) 80 }}:{{ $gateway.http.port }}{{ end }}
{{- end -}}
{{- end }}

{{/* The origin of the status page, where it has a route. */}}
{{- define "mcp-gateway.statusPageOrigin" -}}
{{- $gateway := .Values.global.gateway -}}
{{- with .Values.global.statusPage -}}
{{- if .enabled -}}
{{- if $gateway.https.enabled -}}
https://{{ .hostname }}{{ if ne (int $gateway.https.port) 443 }}:{{ $gateway.https.port }}{{ end }}
{{- else -}}
http://{{ .hostname }}{{ if ne (int $gateway.http.port) 80 }}:{{ $gateway.http.port }}{{ end }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The origins whose pages may call the endpoint, separated by commas: those of the values, and that of the status page, from which tools are tried. */}}
{{- define "mcp-gateway.allowedOrigins" -}}
{{- append .Values.global.allowedOrigins (include "mcp-gateway.statusPageOrigin" .) | compact | uniq | join "," -}}
{{- end }}

{{/* Labels of every object: include "mcp-gateway.labels" (list . "NAME"), where NAME becomes app.kubernetes.io/name. */}}
{{- define "mcp-gateway.labels" -}}
{{- $top := first . -}}
app.kubernetes.io/name: {{ last . }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mcp-gateway
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version }}
{{- end }}

{{/* Labels of pods, which change with nothing that does not concern them: include "mcp-gateway.podLabels" (list . "NAME"). */}}
{{- define "mcp-gateway.podLabels" -}}
{{- $top := first . -}}
app.kubernetes.io/name: {{ last . }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/part-of: mcp-gateway
{{- end }}

{{/* The security context of a pod and of a container by which they are within the Pod Security Standard "restricted". */}}
{{- define "mcp-gateway.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "mcp-gateway.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* imagePullSecrets of a pod, if there are any. */}}
{{- define "mcp-gateway.imagePullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What selects pods: include "mcp-gateway.selector" "NAME". */}}
{{- define "mcp-gateway.selector" -}}
app.kubernetes.io/name: {{ . }}
{{- end }}

{{/* Where pods run, of a subchart's own values. */}}
{{- define "mcp-gateway.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/*
Roles and bindings of a service account, of the same rules as the kustomization's (files/role.yaml): include "mcp-gateway.rbac" (list . "NAME").
With global.watchNamespaces what is for the whole cluster is given in these namespaces only, and in the Gateway's, where routes and Services are, nothing of it
that is about MCPServers and what they refer to. What is not in one namespace with the release is named after it, so that two releases do not meet.
*/}}
{{- define "mcp-gateway.rbac" -}}
{{- $top := first . }}
{{- $name := last . }}
{{- $here := $top.Release.Namespace }}
{{- $gateway := include "mcp-gateway.gatewayNamespace" $top }}
{{- range splitList "\n---\n" ($top.Files.Get "files/role.yaml") }}
{{- $role := fromYaml . }}
{{- if eq $role.kind "Role" }}
{{- if eq $role.metadata.name $name }}
{{- include "mcp-gateway.grant" (dict "top" $top "account" $name "name" $name "namespace" $here "rules" $role.rules) }}
{{- else }}
{{- /* The Role in the Gateway's namespace, whose rules name the Gateway and what is called after it. */}}
{{- $rules := list }}
{{- range $rule := $role.rules }}
{{- $names := list }}
{{- range $rule.resourceNames }}{{ $names = append $names (printf "%s%s" $top.Values.global.gateway.name (trimPrefix "mcp-gateway" .)) }}{{ end }}
{{- $rules = append $rules (merge (ternary (dict "resourceNames" $names) dict (gt (len $names) 0)) $rule) }}
{{- end }}
{{- include "mcp-gateway.grant" (dict "top" $top "account" $name "name" (printf "%s-%s" $role.metadata.name $here) "namespace" $gateway "rules" $rules) }}
{{- end }}
{{- else }}
{{- $places := list "" }}
{{- if $top.Values.global.watchNamespaces }}
{{- $places = concat $top.Values.global.watchNamespaces (list $here $gateway) | uniq | sortAlpha }}
{{- end }}
{{- range $place := $places }}
{{- $rules := $role.rules }}
{{- if and (eq $place $gateway) (ne $place $here) (not (has $place $top.Values.global.watchNamespaces)) }}
{{- $rules = list }}
{{- range $role.rules }}
{{- if not (or (has "mcp.kagenti.com" .apiGroups) (has "secrets" .resources)) }}{{ $rules = append $rules . }}{{ end }}
{{- end }}
{{- end }}
{{- if $rules }}
{{- include "mcp-gateway.grant" (dict "top" $top "account" $name "name" (printf "%s-%s" $name $here) "namespace" $place "rules" $rules) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A role and its binding to an account of the release's namespace; without a namespace they are for the whole cluster. */}}
{{- define "mcp-gateway.grant" -}}
{{- $kind := ternary "Role" "ClusterRole" (ne .namespace "") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "mcp-gateway.labels" (list .top .account) | nindent 4 }}
rules: {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "mcp-gateway.labels" (list .top .account) | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ $kind }}, name: {{ .name }}}
subjects:
  - {kind: ServiceAccount, name: {{ .account }}, namespace: {{ .top.Release.Namespace }}}
{{- end }}

{{/* The account that pods run as: include "mcp-gateway.serviceAccount" (list . "NAME"). */}}
{{- define "mcp-gateway.serviceAccount" -}}
{{- $top := first . -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ last . }}
  namespace: {{ $top.Release.Namespace }}
  labels: {{- include "mcp-gateway.labels" . | nindent 4 }}
  {{- with $top.Values.serviceAccount.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/*
An object that the program fills and that goes with the release: include "mcp-gateway.stub" (list . "v1" "ConfigMap" "NAME"). Upgrades do not touch what they
do not have: the content stays. The label managed-by is the program's, which takes it back whenever Helm has set it.
*/}}
{{- define "mcp-gateway.stub" -}}
{{- include "mcp-gateway.stubIn" (concat (list (index . 0) (index . 0).Release.Namespace) (rest .)) }}
{{- end }}

{{/* The same in another namespace: include "mcp-gateway.stubIn" (list . "NAMESPACE" "v1" "ConfigMap" "NAME"). */}}
{{- define "mcp-gateway.stubIn" -}}
{{- $top := index . 0 }}
---
apiVersion: {{ index . 2 }}
kind: {{ index . 3 }}
metadata:
  name: {{ index . 4 }}
  namespace: {{ index . 1 }}
  labels: {{- omit (include "mcp-gateway.labels" (list $top "mcp-gateway") | fromYaml) "app.kubernetes.io/managed-by" | toYaml | nindent 4 }}
{{- end }}

{{/*
Whether the cluster lacks a kind: include "mcp-gateway.lacks" (list . "GROUP/VERSION/KIND" "NAME OF THE DEFINITION"). Where helm asks no cluster, nothing lacks;
and `helm template --dry-run=server` knows definitions alone.
*/}}
{{- define "mcp-gateway.lacks" -}}
{{- $top := first . -}}
{{- if and (lookup "v1" "Namespace" "" "kube-system") (not ($top.Capabilities.APIVersions.Has (index . 1))) -}}
{{- if not (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (index . 2)) -}}true{{- end -}}
{{- end -}}
{{- end }}

{{/* How many seconds a duration such as 1m30s has, as a decimal number, or nothing if it is no duration. */}}
{{- define "mcp-gateway.seconds" -}}
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
