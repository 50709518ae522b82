package deploy

import (
	"bytes"
	"encoding/json"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// strict decodes an object into the type of the API; fields that the type
// does not have are errors, as they are for kubectl with --validate=strict.
func strict(o object) error {
	into := map[any]any{
		"Namespace": new(corev1.Namespace), "ServiceAccount": new(corev1.ServiceAccount), "ConfigMap": new(corev1.ConfigMap),
		"ClusterRole": new(rbacv1.ClusterRole), "ClusterRoleBinding": new(rbacv1.ClusterRoleBinding), "DaemonSet": new(appsv1.DaemonSet),
		"StatefulSet": new(appsv1.StatefulSet), "Service": new(corev1.Service), "Deployment": new(appsv1.Deployment),
		"NetworkPolicy": new(networkingv1.NetworkPolicy), "PodDisruptionBudget": new(policyv1.PodDisruptionBudget),
		"HorizontalPodAutoscaler": new(autoscalingv2.HorizontalPodAutoscaler), "Pod": new(corev1.Pod), "Job": new(batchv1.Job),
		"Role": new(rbacv1.Role), "RoleBinding": new(rbacv1.RoleBinding), "MutatingWebhookConfiguration": new(admissionregistrationv1.MutatingWebhookConfiguration),
	}[o["kind"]]
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// A field that Kubernetes does not know would be dropped in silence, and a
// protection with it.
func TestManifestsAreOfTheAPI(t *testing.T) {
	_, objects := manifests(t, Options{})
	all := objects
	for _, role := range Roles() {
		text, err := Manifests(role, Options{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all[:len(all):len(all)], parse(t, text)...)
	}
	for _, o := range all {
		if err := strict(o); err != nil {
			t.Errorf("%v: %v", o["kind"], err)
		}
	}
	ds := objects[len(objects)-1]
	daemonSet(t, objects)["readOnlyRootFileSystem"] = true // not its name, nor its place
	if strict(ds) == nil {
		t.Error("a field that is not there was taken")
	}
}
