package kube

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirlog/weir/wire/line"
)

// AccessError says that a cluster cannot be reached, or does not allow what was
// asked.
type AccessError struct {
	Text string // what failed and what to do
	Err  error
}

func (e *AccessError) Error() string { return e.Text }
func (e *AccessError) Unwrap() error { return e.Err }

// NotFoundError says that what was named is not there.
type NotFoundError struct{ Text string }

func (e *NotFoundError) Error() string { return e.Text }

// explain makes an error for people of a failed request. resource is such as
// pods or pods/log; namespace is "" for all.
func (l *Logs) explain(err error, verb, resource, namespace string) error {
	var access *AccessError
	if err == nil || errors.As(err, &access) {
		return err
	}
	where, flag := "in all namespaces", "-A"
	if namespace != "" {
		where, flag = "in namespace "+namespace, "-n "+namespace
	}
	var cert *tls.CertificateVerificationError
	text := ""
	switch {
	case apierrors.IsForbidden(err):
		text = fmt.Sprintf("%s does not allow to %s %s %s; see: kubectl auth can-i %s %s %s", l.name, verb, resource, where, verb, resource, flag)
	case apierrors.IsUnauthorized(err):
		text = l.name + " does not accept the credentials of the kubeconfig; they may have expired: log in again, or see: kubectl auth whoami"
	case errors.As(err, &cert):
		text = fmt.Sprintf("the certificate of %s is not trusted: %v; see certificate-authority in the kubeconfig", l.name, cert.Err)
	case strings.HasPrefix(reason(err), "getting credentials"):
		text = fmt.Sprintf("the command that the kubeconfig names for the credentials of %s fails: %s", l.name, strings.TrimPrefix(reason(err), "getting credentials: "))
	case unreachable(err):
		text = fmt.Sprintf("%s cannot be reached at %s: %s", l.name, l.base.Redacted(), reason(err))
	default:
		return fmt.Errorf("%s: %s %s %s: %s", l.name, verb, resource, where, reason(err))
	}
	return &AccessError{text, err}
}

// unreachable reports whether the error is none of the server's own.
func unreachable(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err)
	}
	var ue *url.Error
	return errors.As(err, &ue)
}

// reason is the text of an error as it may stand in a message: without the
// request's address, and without what a terminal would obey.
func reason(err error) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return plain(err.Error())
}

func plain(s string) string {
	s = strings.TrimSpace(s)
	if first, _, more := strings.Cut(s, "\n"); more {
		s = first + " …"
	}
	return string(line.AppendPlain(nil, []byte(s)))
}

// statusError makes an error of an answer that is none.
func statusError(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if err != nil {
		return err
	}
	var st metav1.Status
	if json.Unmarshal(body, &st) == nil && st.Kind == "Status" && st.Message != "" {
		if st.Code == 0 {
			st.Code = int32(resp.StatusCode)
		}
		return &apierrors.StatusError{ErrStatus: st}
	}
	text := strings.TrimSpace(string(body))
	if text == "" {
		text = resp.Status
	}
	// kubelet's words, passed on by the API server, or those of a proxy.
	e := apierrors.NewGenericServerResponse(resp.StatusCode, "get", metav1.SchemeGroupVersion.WithResource("pods").GroupResource(), "", text, 0, true)
	e.ErrStatus.Message = text
	return e
}
