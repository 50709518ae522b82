// Package bench compares package client with slog's JSON handler and
// OpenTelemetry's bridge for slog, and checks its requests with OpenTelemetry's
// own definition of them. It is a module of its own, so that the client has no
// dependency.
package bench
