package api

import "net/http"

// pushHandlers registers the endpoints that take logs.
func (s *Server) pushHandlers(*http.ServeMux) {}
