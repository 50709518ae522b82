{{/* The start of every name: weir for a release called weir, else weir-<release>. */}}
{{- define "weir.name" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if eq .Release.Name "weir" }}weir
{{- else }}{{ printf "weir-%s" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that pods are selected by. Takes (list $ "role"). */}}
{{- define "weir.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of objects. Takes (list $ "role"). */}}
{{- define "weir.labels" -}}
{{- $ := index . 0 -}}
{{ include "weir.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version }}
{{- end }}

{{/* The head of an object. Takes (list $ "role" "suffix"). */}}
{{- define "weir.meta" -}}
{{- $ := index . 0 -}}
name: {{ include "weir.name" $ }}-{{ index . 1 }}
namespace: {{ $.Release.Namespace }}
labels:
  {{- include "weir.labels" (list $ (index . 1)) | nindent 2 }}
{{- end }}

{{/* The same for objects that are of no namespace. */}}
{{- define "weir.clustermeta" -}}
{{- $ := index . 0 -}}
name: {{ include "weir.name" $ }}-{{ index . 1 }}
labels:
  {{- include "weir.labels" (list $ (index . 1)) | nindent 2 }}
{{- end }}

{{- define "weir.image" -}}
{{- with .Values.image -}}
{{- if .registry }}{{ .registry }}/{{ end }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "weir.serviceaccount" -}}
{{- $ := index . 0 -}}{{- $role := index . 1 -}}{{- $v := index $.Values $role -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "weir.meta" . | nindent 2 }}
  {{- with $v.serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* A binding of the role's ClusterRole to its account. */}}
{{- define "weir.clusterbinding" -}}
{{- $ := index . 0 -}}{{- $name := printf "%s-%s" (include "weir.name" $) (index . 1) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  {{- include "weir.clustermeta" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $.Release.Namespace }}
{{- end }}

{{/* Labels and annotations of pods. The checksum makes new pods where the
     configuration is read at the start only. */}}
{{- define "weir.podmeta" -}}
{{- $ := index . 0 -}}{{- $role := index . 1 -}}{{- $v := index $.Values $role -}}
labels:
  {{- include "weir.selector" . | nindent 2 }}
  {{- with $v.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  {{- if $.Values.scrapeAnnotations }}
  prometheus.io/scrape: 'true'
  prometheus.io/port: '7411'
  prometheus.io/path: /metrics
  {{- end }}
  {{- if has $role (list "store" "webhook") }}
  checksum/config: {{ include (print $.Template.BasePath "/" $role "/configmap.yaml") $ | sha256sum }}
  {{- end }}
  {{- with $v.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Where pods run: what is the same for all roles. */}}
{{- define "weir.scheduling" -}}
{{- $ := index . 0 -}}{{- $v := index $.Values (index . 1) -}}
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
# A Service called weir-… would set WEIR_… variables, which are settings.
enableServiceLinks: false
{{- with $v.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "weir.spread" -}}
- maxSkew: 1
  topologyKey: {{ index . 2 }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "weir.selector" . | nindent 6 }}
{{- end }}

{{/* A user without privileges, as the Pod Security level restricted asks for. */}}
{{- define "weir.nonroot" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
{{- if . }}
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "weir.elasticsearch" -}}
{{- with . -}}
- name: ELASTICSEARCH_SCHEME
  value: {{ .scheme | quote }}
- name: ELASTICSEARCH_HOST
  value: {{ .host | quote }}
- name: ELASTICSEARCH_PORT
  value: {{ .port | quote }}
- name: ELASTICSEARCH_USER
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret }}, key: user, optional: true}
- name: ELASTICSEARCH_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret }}, key: password, optional: true}
{{- end }}
{{- end }}

{{/* The variables that a role's configuration names. */}}
{{- define "weir.env" -}}
{{- $ := index . 0 -}}{{- $role := index . 1 -}}{{- $v := index $.Values $role -}}
{{- if eq $role "agent" }}
{{- include "weir.elasticsearch" $v.elasticsearch }}
{{- else if eq $role "gateway" -}}
- name: GATEWAY_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ $v.existingSecret }}, key: token}
{{ include "weir.elasticsearch" $v.elasticsearch }}
{{- else if eq $role "store" -}}
- name: STORE_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $v.existingSecret }}, key: password}
{{- else if eq $role "webhook" -}}
- name: SIDECAR_IMAGE     # of the sidecars
  value: {{ include "weir.image" $ }}
{{- end }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The variables that say where a pod is. Takes names. */}}
{{- define "weir.fields" -}}
{{- range . }}
- name: {{ . }}
  valueFrom:
    fieldRef:
      fieldPath: {{ get (dict "NODE_NAME" "spec.nodeName" "POD_NAME" "metadata.name" "POD_UID" "metadata.uid" "POD_NAMESPACE" "metadata.namespace") . }}
{{- end }}
{{- end }}

{{- define "weir.probes" -}}
# Fails when a part makes no progress, not when a backend is down or the disk is
# full: a restart helps neither.
livenessProbe:
  httpGet:
    path: /healthz
    port: probe
  {{- if ne . "webhook" }}
  initialDelaySeconds: 30
  failureThreshold: 6
  {{- end }}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: probe
  {{- if ne . "webhook" }}
  failureThreshold: 3
  periodSeconds: 5
  {{- else }}
  periodSeconds: 2
  {{- end }}
  timeoutSeconds: 5
{{- end }}

{{/* privileged: false is said where it is in the kustomize bases. */}}
{{- define "weir.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The objects' list of a role's volumes that are the same everywhere. */}}
{{- define "weir.configvolume" -}}
- name: config
  configMap:
    name: {{ include "weir.name" (index . 0) }}-{{ index . 1 }}
{{- end }}

{{- define "weir.configmap" -}}
{{- $ := index . 0 -}}{{- $v := index $.Values (index . 1) -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "weir.meta" . | nindent 2 }}
data:
  weir.yaml: |
    {{- toYaml $v.config | nindent 4 }}
{{- end }}

{{- define "weir.pdb" -}}
{{- $ := index . 0 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "weir.meta" . | nindent 2 }}
spec:
  {{- toYaml (index . 2) | nindent 2 }}
  selector:
    matchLabels:
      {{- include "weir.selector" . | nindent 6 }}
{{- end }}

{{- define "weir.claim" -}}
- metadata:
    name: state
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .size }}
{{- end }}
