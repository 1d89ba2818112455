{{/* Name of the controller's objects; those of the injector have -injector behind it. */}}
{{- define "rootcast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "rootcast.injector" -}}
{{ include "rootcast.name" . | trunc 54 | trimSuffix "-" }}-injector
{{- end -}}

{{- define "rootcast.namespace" -}}
{{ .Values.namespace | default .Release.Namespace }}
{{- end -}}

{{- define "rootcast.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "rootcast.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "rootcast.labels" -}}
app.kubernetes.io/name: {{ include "rootcast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
The metadata of an object: (list $ NAME) in the cluster, (list $ NAME NAMESPACE) in a
namespace; then, where there are any, a dict of further labels and one of annotations.
*/}}
{{- define "rootcast.metadata" -}}
{{- $root := first . -}}
{{- $namespace := "" -}}
{{- $more := slice . 2 -}}
{{- if and $more (kindIs "string" (first $more)) -}}
{{- $namespace = first $more -}}
{{- $more = rest $more -}}
{{- end -}}
{{- $labels := merge (dict) (first $more | default dict) (include "rootcast.labels" $root | fromYaml) -}}
{{- $annotations := merge (dict) (rest $more | first | default dict) $root.Values.commonAnnotations -}}
metadata:
  name: {{ index . 1 }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- toYaml $labels | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/*
An image's reference: (list VALUES REGISTRY NAMESPACE TAG), where TAG is for values that
say neither tag nor digest.
*/}}
{{- define "rootcast.reference" -}}
{{- $image := index . 0 -}}
{{- $place := $image.repository | default (list (index . 1) (index . 2) $image.name | compact | join "/") -}}
{{- list $image.registry $place | compact | join "/" -}}
{{- $tag := $image.tag | default (ternary "" (index . 3) (not (empty $image.digest))) -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/*
Our image. What trust-manager's chart has as its defaults is nobody's choice of a place
for it.
*/}}
{{- define "rootcast.image" -}}
{{- $image := .Values.image -}}
{{- $registry := .Values.imageRegistry -}}
{{- $namespace := .Values.imageNamespace -}}
{{- if eq $image.name "trust-manager" -}}
{{- $image = merge (dict "name" .Chart.Name) $image -}}
{{- if and (eq $registry "quay.io") (eq $namespace "jetstack") -}}
{{- $registry = "" -}}
{{- $namespace = "" -}}
{{- end -}}
{{- end -}}
{{- include "rootcast.reference" (list $image $registry $namespace .Chart.AppVersion) -}}
{{- end -}}

{{/* The image of a default CA package, or nothing where none is named. */}}
{{- define "rootcast.packageImage" -}}
{{- $image := .Values.defaultPackageImage -}}
{{- if and .Values.defaultPackage.enabled (or $image.repository $image.tag $image.digest) -}}
{{- include "rootcast.reference" (list $image (.Values.imageRegistry | default "quay.io") (.Values.imageNamespace | default "jetstack") "") -}}
{{- end -}}
{{- end -}}

{{/* The subject of the controller's bindings. */}}
{{- define "rootcast.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "rootcast.serviceAccount" . }}
    namespace: {{ include "rootcast.namespace" . }}
{{- end -}}

{{/* A binding's reference to a role: (list KIND NAME). */}}
{{- define "rootcast.roleRef" -}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ first . }}
  name: {{ last . }}
{{- end -}}
