{{- define "farm.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "farm.labels" -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version)
  "app.kubernetes.io/name" "farm"
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- toYaml (merge (dict) $labels .Values.labels) -}}
{{- end -}}

{{/* What chooses pods: dict "root" $ "component" "coordinator", or "worker" with "class". Never changes in a release's life. */}}
{{- define "farm.selector" -}}
app.kubernetes.io/name: farm
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .class }}
farm/class: {{ . }}
{{- end }}
{{- end -}}

{{- define "farm.image" -}}
{{- printf "%s%s:%s" .root.Values.image.registry .image (default .root.Chart.AppVersion .root.Values.image.tag) -}}
{{- end -}}

{{/* A class of workers, with what it has of workerDefaults: dict "root" $ "name" "gpu", as JSON. */}}
{{- define "farm.worker" -}}
{{- toJson (mergeOverwrite (deepCopy .root.Values.workerDefaults) (deepCopy (index .root.Values.workers .name))) -}}
{{- end -}}

{{/* The farm's TOML: values of a table first, tables after them, arrays of tables last. dict "table" map "path" "". */}}
{{- define "farm.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value) (eq (include "farm.isTables" $value) "yes")) }}
{{ include "farm.tomlKey" $key }} = {{ include "farm.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- $name := include "farm.tomlKey" $key }}
{{- $full := ternary $name (printf "%s.%s" $path $name) (eq $path "") }}
{{- if kindIs "map" $value }}

[{{ $full }}]
{{- include "farm.toml" (dict "table" $value "path" $full) }}
{{- else if eq (include "farm.isTables" $value) "yes" }}
{{- range $value }}

[[{{ $full }}]]
{{- include "farm.toml" (dict "table" . "path" $full) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "farm.isTables" -}}
{{- if and (kindIs "slice" .) . }}{{ if kindIs "map" (first .) }}yes{{ end }}{{ end -}}
{{- end -}}

{{- define "farm.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end -}}
{{- end -}}

{{/* Numbers of values are floats, whatever they look like. */}}
{{- define "farm.tomlValue" -}}
{{- if kindIs "slice" . -}}
[{{ range $at, $one := . }}{{ if $at }}, {{ end }}{{ include "farm.tomlValue" $one }}{{ end }}]
{{- else if kindIs "string" . -}}
{{ toRawJson . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if eq (float64 .) (floor .) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* Seconds for which the coordinators let chunks wait for a GPU: where none is kept running, longer than a node takes to
start. 0: there is no such class. */}}
{{- define "farm.awaitGpu" -}}
{{- $await := 0 -}}
{{- range $name, $_ := .Values.workers -}}
{{- $worker := include "farm.worker" (dict "root" $ "name" $name) | fromJson -}}
{{- if and $worker.enabled $worker.autoscaling.enabled $worker.gpus (not $worker.autoscaling.minReplicas) -}}
{{- $await = 600 -}}
{{- end -}}
{{- end -}}
{{- $await -}}
{{- end -}}

{{/* Settings of the coordinators, as JSON. */}}
{{- define "farm.coordinatorConfig" -}}
{{- $config := dict
  "http_listen" "0.0.0.0:7601"
  "api" (dict "listen" "0.0.0.0:7600")
  "etcd" (deepCopy .Values.etcd)
  "nats" (deepCopy .Values.nats)
  "storage" (deepCopy .Values.storage)
  "log" (dict "json" true) -}}
{{- $await := include "farm.awaitGpu" . | int -}}
{{- if $await }}{{ $_ := set $config "await_gpu_s" $await }}{{ end -}}
{{- toJson (mergeOverwrite $config (deepCopy .Values.coordinator.config)) -}}
{{- end -}}

{{/* Settings of a class of workers, as JSON: dict "root" $ "worker" map. */}}
{{- define "farm.workerConfig" -}}
{{- $worker := dict "scratch" "/scratch" "storage" (deepCopy .root.Values.storage) -}}
{{- with .worker.slots }}{{ $_ := set $worker "slots" . }}{{ end -}}
{{- $config := dict
  "http_listen" "0.0.0.0:7602"
  "grace_period_ms" (mul .worker.drainSeconds 1000)
  "nats" (deepCopy .root.Values.nats)
  "worker" $worker
  "log" (dict "json" true) -}}
{{- toJson (mergeOverwrite $config (deepCopy .worker.config)) -}}
{{- end -}}

{{/* What all containers of the farm may: next to nothing. */}}
{{- define "farm.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "farm.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 .Values.security.runAsUser }}
runAsGroup: {{ int64 .Values.security.runAsGroup }}
fsGroup: {{ int64 .Values.security.runAsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Health of a program whose pages are at the port "pages". */}}
{{- define "farm.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: pages}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /healthz, port: pages}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: pages}
  periodSeconds: 5
  timeoutSeconds: 3
{{- end -}}

{{/* Environment of a container: dict "secretEnv" list "env" list. */}}
{{- define "farm.environment" -}}
{{- with .secretEnv }}
envFrom:
  {{- range . }}
  - secretRef: {name: {{ . | quote }}}
  {{- end }}
{{- end }}
{{- with .env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "farm.secretMounts" -}}
{{- range $at, $file := . }}
- {name: secret-{{ $at }}, mountPath: {{ $file.mountPath | quote }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* Mode 0440: the files are the group's to read, and nobody else's. */}}
{{- define "farm.secretVolumes" -}}
{{- range $at, $file := . }}
- name: secret-{{ $at }}
  secret: {secretName: {{ $file.name | quote }}, defaultMode: 288}
{{- end }}
{{- end -}}
