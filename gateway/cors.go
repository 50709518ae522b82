package gateway

import (
	"net/http"
	"slices"
)

// Pages in browsers may push if their origin is named (CORS): OpenTelemetry's SDK
// for the web, or fetch. Others are refused, since a page could otherwise write
// into the logs of whoever looks at it, by what that machine reaches.
// https://fetch.spec.whatwg.org/#http-cors-protocol

// AnyOrigin allows pages of all origins.
const AnyOrigin = "*"

// corsHeaders are what pages may send, beyond what they always may.
const corsHeaders = "Authorization, Content-Encoding, Content-Type, DD-API-KEY, X-Scope-OrgID, X-Splunk-Request-Channel"

// maxAllowed bounds the names of headers that a browser asks for.
const maxAllowed = 1 << 10

// cors answers for pages of the allowed origins. own reports that the request is
// from one, done that it is answered: a browser asks before it sends.
func (h *HTTP) cors(w http.ResponseWriter, r *http.Request) (own, done bool) {
	if len(h.cfg.Origins) == 0 {
		return false, false
	}
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(h.cfg.Origins, AnyOrigin) && !slices.Contains(h.cfg.Origins, origin) {
		return false, false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return true, false
	}
	allow := corsHeaders
	// Whatever else the page wants to send: headers are no protection here.
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && len(asked) <= maxAllowed {
		allow = asked
	}
	w.Header().Set("Access-Control-Allow-Methods", "POST, PUT, GET")
	w.Header().Set("Access-Control-Allow-Headers", allow)
	w.Header().Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusNoContent)
	return true, true
}
