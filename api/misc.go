package api

import (
	"context"
	"net/http"

	"github.com/weirlog/weir/logql"
)

// formatQuery is /format_query: the query in its usual form.
func (s *Server) formatQuery(_ context.Context, q *request) error {
	expr, err := logql.Parse(q.form.Get("query"))
	if err != nil {
		_, msg := s.classify(q.Request, err)
		return s.jsonAs(q, http.StatusBadRequest, struct {
			Status string `json:"status"`
			Error  string `json:"error"`
		}{"invalid-query", msg})
	}
	return s.json(q, success{"success", logql.Format(expr)})
}

// buildInfo is /status/buildinfo.
func (s *Server) buildInfo(_ context.Context, q *request) error {
	return s.json(q, s.cfg.Version)
}

// config is /config: clients look into it for little else than that it is
// there.
func (s *Server) config(_ context.Context, q *request) error {
	a := s.answer(q, "text/plain; charset=utf-8")
	a.buf = append(a.buf, "target: weir\n"...)
	return a.close()
}

// noRules answers that there are no rules.
func (s *Server) noRules(_ context.Context, q *request) error {
	what := "groups"
	if q.URL.Path == "/prometheus/api/v1/alerts" {
		what = "alerts"
	}
	return s.json(q, success{"success", map[string][]string{what: {}}})
}

// noRuleGroups is the ruler's /rules, which has nothing to list.
func (s *Server) noRuleGroups(context.Context, *request) error {
	return &httpError{http.StatusNotFound, "no rule groups found"}
}

// drilldownLimits is /drilldown-limits: what Grafana's Logs Drilldown may ask
// for.
func (s *Server) drilldownLimits(_ context.Context, q *request) error {
	l := &s.cfg.Limits
	length := "0s"
	if l.Range > 0 {
		length = l.Range.String()
	}
	return s.json(q, map[string]any{
		"limits": map[string]any{
			"discover_log_levels":         true,
			"discover_service_name":       serviceNames,
			"log_level_fields":            []string{"level", "lvl", "severity", "log.level", "severity_text", "detected_level"},
			"max_entries_limit_per_query": l.Entries,
			"max_line_size_truncate":      false,
			"max_query_bytes_read":        "0B",
			"max_query_length":            length,
			"max_query_lookback":          "0s",
			"max_query_range":             "0s",
			"max_query_series":            l.Query.MaxSeries,
			"metric_aggregation_enabled":  false,
			"otlp_config":                 otlpConfig,
			"pattern_persistence_enabled": false,
			"query_timeout":               l.Time.String(),
			"retention_period":            "0s",
			"volume_enabled":              true,
			"volume_max_series":           l.Names,
		},
		"pattern_ingester_enabled": false,
		"version":                  s.cfg.Version.Version,
	})
}

// otlpConfig says which resource attributes of OTLP become labels.
var otlpConfig = map[string]any{"resource_attributes": map[string]any{"attributes_config": []any{map[string]any{
	"action": "index_label",
	"attributes": []string{"service.name", "k8s.cluster.name", "k8s.namespace.name", "k8s.node.name", "k8s.pod.name", "k8s.container.name",
		"k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "k8s.cronjob.name", "k8s.job.name", "log.iostream"},
}}}}

// serviceNames is where service_name comes from, as the store does it.
var serviceNames = []string{"service", "app", "application", "app_name", "name", "app_kubernetes_io_name", "container", "container_name",
	"k8s_container_name", "component", "workload", "job", "k8s_job_name"}
