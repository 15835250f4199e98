{{- define "batches-mcp.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "batches-mcp.selector" -}}
app.kubernetes.io/name: batches-mcp
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Not those that the Service chooses by. */}}
{{- define "batches-mcp.workerSelector" -}}
app.kubernetes.io/name: batches-mcp-worker
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "batches-mcp.labels" -}}
{{ include "batches-mcp.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "batches-mcp.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "batches-mcp.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "batches-mcp.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "batches-mcp.podAnnotations" -}}
{{- if or .Values.metrics.annotations .Values.podAnnotations }}
annotations:
  {{- if .Values.metrics.annotations }}
  prometheus.io/scrape: "true"
  prometheus.io/port: {{ .Values.metrics.port | quote }}
  prometheus.io/path: /metrics
  {{- end }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What servers and workers are told alike. */}}
{{- define "batches-mcp.environment" -}}
- {name: ANTHROPIC_API_KEY_FILE, value: /run/secrets/api-key/key}
- {name: BATCHES_MCP_DATABASE_URL_FILE, value: /run/secrets/database/url}
- name: BATCHES_MCP_OBJECT_STORE
  value: {{ .Values.objectStore.url | quote }}
- {name: BATCHES_MCP_TEAMS, value: /run/secrets/teams/teams.yaml}
- name: BATCHES_MCP_DRAIN
  value: {{ .Values.drainSeconds | quote }}
- name: BATCHES_MCP_LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: BATCHES_MCP_LOG_FORMAT
  value: {{ .Values.logFormat }}
- name: BATCHES_MCP_METRICS_ADDRESS
  value: {{ printf "0.0.0.0:%d" (int .Values.metrics.port) | quote }}
{{- with .Values.maxCostUsd }}
- name: BATCHES_MCP_MAX_COST_USD
  value: {{ . | quote }}
{{- end }}
{{- with .Values.objectStore }}
{{- with .region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- if .allowHttp }}
- {name: AWS_ALLOW_HTTP, value: "true"}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "batches-mcp.secretMounts" -}}
- {name: api-key, mountPath: /run/secrets/api-key, readOnly: true}
- {name: database, mountPath: /run/secrets/database, readOnly: true}
- {name: teams, mountPath: /run/secrets/teams, readOnly: true}
{{- end }}

{{- define "batches-mcp.secretVolumes" -}}
- name: api-key
  secret:
    secretName: {{ .Values.apiKey.secret }}
    defaultMode: 0440
    items: [{key: {{ .Values.apiKey.key }}, path: key}]
- name: database
  secret:
    secretName: {{ .Values.database.secret }}
    defaultMode: 0440
    items: [{key: {{ .Values.database.key }}, path: url}]
- name: teams
  secret:
    secretName: {{ .Values.teams.secret }}
    defaultMode: 0440
{{- end }}
