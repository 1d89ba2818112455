{{/*
An admission policy and its binding from files/: (list $ FILE NAME REPLACEMENTS EDIT).
REPLACEMENTS are pairs of strings of the file and what stands for them here. The policy
is the same as in config/ but for these and for the labels.
*/}}
{{- define "rootcast.policy" -}}
{{- $root := index . 0 -}}
{{- $name := index . 2 -}}
{{- $text := $root.Files.Get (index . 1) -}}
{{- range index . 3 -}}
{{- $text = replace (first .) (last .) $text -}}
{{- end -}}
{{- range splitList "\n---\n" $text }}
{{- $object := fromYaml . }}
{{- if eq $object.kind "ValidatingAdmissionPolicyBinding" }}
{{- $_ := set $object.spec "policyName" $name }}
{{- end }}
---
apiVersion: {{ $object.apiVersion }}
kind: {{ $object.kind }}
{{ include "rootcast.metadata" (list $root $name) }}
spec:
  {{- toYaml $object.spec | nindent 2 }}
{{- end }}
{{- end -}}
