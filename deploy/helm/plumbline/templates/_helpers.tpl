{{- define "plumbline.name" -}}
{{- if contains "plumbline" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-plumbline" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "plumbline.selector" -}}
app.kubernetes.io/name: plumbline
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "plumbline.labels" -}}
{{ include "plumbline.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "plumbline.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "plumbline.name" .) }}{{ else }}{{ required "serviceAccount.name: the name of an account that is there, or serviceAccount.create" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "plumbline.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ required "image.tag or image.digest: which version" .Values.image.tag }}{{ end }}
{{- end }}

{{- define "plumbline.server" -}}
# Written by the chart.
server {
  listen     = "0.0.0.0:8080"
  public_url = {{ .Values.publicURL | quote }}
  data_dir   = "/var/lib/plumbline"
  database   = env("PLUMBLINE_DATABASE")
  node       = env("POD_NAME")
  workers    = {{ .Values.workers }}
{{- with .Values.artifacts }}
  artifacts  = {{ . | quote }}
{{- end }}
{{- if .Values.encryption }}
  encryption = {{ .Values.encryption | quote }}
{{- else if .Values.persistence.shared.enabled }}
  encryption = "file:///var/lib/plumbline-shared/key"
{{- end }}
}
{{- end }}
