{{/* Names: the release's, with the chart's unless it is in it already. */}}
{{- define "ringway.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{/* Called with a dict of `context` and `part` (relay or transceiver). */}}
{{- define "ringway.selector" -}}
app.kubernetes.io/name: ringway
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "ringway.labels" -}}
{{ include "ringway.selector" . }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version }}
{{- end -}}

{{- define "ringway.image" -}}
{{ index .context.Values.image .part }}:{{ .context.Values.image.tag | default .context.Chart.AppVersion }}
{{- end -}}

{{/* Nobody but root could change the user; the image's is 65532. */}}
{{- define "ringway.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {{ toJson .seccompProfile }}
{{- end -}}

{{- define "ringway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* The keyring must not be readable by others: 0440, and its group is fsGroup. */}}
{{- define "ringway.keysVolume" -}}
- name: keys
  secret:
    secretName: {{ .Values.keys.existingSecret }}
    defaultMode: 0440
    items: [{ key: {{ .Values.keys.key }}, path: keys.toml }]
{{- end -}}

{{/* Called with the part's values. Three tries of a probe every two seconds. */}}
{{- define "ringway.probes" -}}
startupProbe:
  httpGet: { path: /live, port: metrics }
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet: { path: /live, port: metrics }
  periodSeconds: 5
  failureThreshold: 3
readinessProbe:
  # Fails while it drains.
  httpGet: { path: /ready, port: metrics }
  periodSeconds: 2
  failureThreshold: 2
{{- end -}}
