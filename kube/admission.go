package kube

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

// What Admit did, for counting.
const (
	AdmitInjected = "injected" // the pod got a sidecar
	AdmitNone     = "none"     // it asked for none, or has it
	AdmitWarned   = "warned"   // it asked, and its annotations are wrong
	AdmitFailed   = "failed"   // the object could not be read
)

// Limits of warnings, which the API server cuts otherwise.
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response
const (
	maxWarning  = 256  // each, in characters
	maxWarnings = 4096 // all
)

// Admit answers the body of an AdmissionReview (admission.k8s.io/v1). Whatever is
// wrong with the pod, it is admitted; an error says that the body is no review, so
// that there is nobody to answer.
func Admit(body []byte, o InjectOptions) (answer []byte, result string, err error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, AdmitFailed, fmt.Errorf("kube: the body is no AdmissionReview: %w", err)
	}
	req := review.Request
	if req == nil || req.UID == "" || review.Kind != "AdmissionReview" || review.APIVersion != admissionv1.SchemeGroupVersion.String() {
		return nil, AdmitFailed, fmt.Errorf("kube: the body is no AdmissionReview of %s", admissionv1.SchemeGroupVersion)
	}
	resp := &admissionv1.AdmissionResponse{UID: req.UID, Allowed: true}
	result = AdmitNone
	var pod corev1.Pod
	switch {
	case req.Kind.Group != "" || req.Kind.Kind != "Pod" || req.SubResource != "" || req.Operation != admissionv1.Create:
	case json.Unmarshal(req.Object.Raw, &pod) != nil:
		result = AdmitFailed
		resp.Warnings = []string{"weir: the pod could not be read, and got no sidecar"}
	default:
		in := Inject(&pod, o)
		resp.Warnings = warnings(in.Warnings)
		switch {
		case in.Patch != nil:
			patch, err := json.Marshal(in.Patch)
			if err != nil {
				return nil, AdmitFailed, fmt.Errorf("kube: encode the patch: %w", err) // impossible
			}
			kind := admissionv1.PatchTypeJSONPatch
			resp.Patch, resp.PatchType = patch, &kind
			result = AdmitInjected
		case len(in.Warnings) > 0:
			result = AdmitWarned
		}
	}
	review.Request, review.Response = nil, resp
	answer, err = json.Marshal(&review)
	return answer, result, err
}

// warnings cuts warnings as the API server wants them.
func warnings(list []string) (out []string) {
	sum := 0
	for _, w := range list {
		r := []rune(w)
		if !utf8.ValidString(w) {
			r = []rune(fmt.Sprintf("%q", w))
		}
		if len(r) > maxWarning {
			r = append(r[:maxWarning-1], '…')
		}
		if sum += len(r); sum > maxWarnings {
			break
		}
		out = append(out, string(r))
	}
	return out
}
