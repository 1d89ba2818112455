{{/* Labels of pods: (list $ NAME FURTHER). No version: a new chart alone restarts none. */}}
{{- define "rootcast.podLabels" -}}
{{- $root := first . -}}
{{- $own := dict "app" (index . 1) "app.kubernetes.io/name" (index . 1) "app.kubernetes.io/instance" $root.Release.Name -}}
{{- toYaml (merge $own (last .) $root.Values.commonLabels) -}}
{{- end -}}

{{/* Resources as given, or else: (list GIVEN MEMORY LIMIT). */}}
{{- define "rootcast.resources" -}}
{{- $default := dict "requests" (dict "cpu" "10m" "memory" (index . 1)) "limits" (dict "memory" (index . 2)) -}}
{{- toYaml (first . | default $default) -}}
{{- end -}}

{{/* Where pods run: (list $ AFFINITY SPREAD PRIORITY HOST-NETWORK). */}}
{{- define "rootcast.scheduling" -}}
{{- $values := (first .).Values -}}
{{- with index . 3 }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index . 1 }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index . 2 }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if index . 4 }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- end -}}

{{/* A budget's limit as given, or else: (list BUDGET FIELD). */}}
{{- define "rootcast.budget" -}}
{{- $budget := first . -}}
{{- $given := pick $budget "minAvailable" "maxUnavailable" -}}
{{- toYaml ($given | default (dict (last .) 1)) -}}
{{- end -}}

{{/* Families of a Service's addresses. */}}
{{- define "rootcast.families" -}}
type: {{ .type }}
{{- with .ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* A component's Service for metrics, and its ServiceMonitor: (list $ NAME). */}}
{{- define "rootcast.metrics" -}}
{{- $root := first . -}}
{{- $name := last . -}}
{{- $namespace := include "rootcast.namespace" $root -}}
{{- $metrics := $root.Values.app.metrics -}}
{{- $component := dict "app" $name "app.kubernetes.io/component" "metrics" -}}
{{- if and $metrics.port $metrics.service.enabled }}
apiVersion: v1
kind: Service
{{ include "rootcast.metadata" (list $root (printf "%s-metrics" $name) $namespace $component) }}
spec:
  {{- include "rootcast.families" $metrics.service | nindent 2 }}
  selector:
    app: {{ $name }}
  ports:
    - name: metrics
      port: {{ $metrics.port }}
      targetPort: metrics
      protocol: TCP
{{- with $metrics.service.servicemonitor }}
{{- if .enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
{{ include "rootcast.metadata" (list $root $name $namespace (merge (dict "app" $name "prometheus" .prometheusInstance) .labels)) }}
spec:
  jobLabel: app
  selector:
    matchLabels:
      {{- toYaml $component | nindent 6 }}
  namespaceSelector:
    matchNames: [{{ $namespace }}]
  endpoints:
    - port: metrics
      path: /metrics
      interval: {{ .interval }}
      scrapeTimeout: {{ .scrapeTimeout }}
      {{- with .endpointAdditionalProperties }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
What may come in and go out: (list $ NAME PORTS), where PORTS are those that anybody may
use: of webhooks, since API servers have no labels. Probes are let through by the node
that they come from.
*/}}
{{- define "rootcast.networkPolicy" -}}
{{- $root := first . -}}
{{- $name := index . 1 -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- if $policy.enabled }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "rootcast.metadata" (list $root $name (include "rootcast.namespace" $root)) }}
spec:
  podSelector:
    matchLabels:
      app: {{ $name }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- with last . }}
    - ports:
        {{- range . }}
        - port: {{ . }}
        {{- end }}
    {{- end }}
    {{- if $root.Values.app.metrics.port }}
    - ports:
        - port: metrics
      {{- with $policy.metricsFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
  egress:
    - ports:
        {{- range $policy.apiServer.ports }}
        - port: {{ . }}
        {{- end }}
      {{- with $policy.apiServer.to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
{{- end -}}
