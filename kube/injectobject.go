package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// podTemplates says where in an object of a kind the pod stands.
var podTemplates = map[string][]string{
	"Pod":                   {},
	"Deployment":            {"spec", "template"},
	"StatefulSet":           {"spec", "template"},
	"DaemonSet":             {"spec", "template"},
	"ReplicaSet":            {"spec", "template"},
	"ReplicationController": {"spec", "template"},
	"Job":                   {"spec", "template"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template"},
}

// InjectObject does to an object of the API, as maps, what the webhook will do to its
// pods. Lists are gone through. injected counts the pods that got a sidecar.
func InjectObject(object map[string]any, o InjectOptions) (injected int, warnings []string, err error) {
	kind, _ := object["kind"].(string)
	if items, ok := object["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		for _, item := range items {
			if m, ok := item.(map[string]any); ok {
				n, more, err := InjectObject(m, o)
				if err != nil {
					return injected, warnings, err
				}
				injected += n
				warnings = append(warnings, more...)
			}
		}
		return injected, warnings, nil
	}
	path, ok := podTemplates[kind]
	if !ok {
		return 0, nil, nil
	}
	template := object
	for _, key := range path {
		if template, ok = template[key].(map[string]any); !ok {
			return 0, nil, fmt.Errorf("the %s has no %s", kind, strings.Join(path, "."))
		}
	}
	text, err := json.Marshal(template)
	if err != nil {
		return 0, nil, fmt.Errorf("the %s: %w", kind, err)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(text, &pod); err != nil {
		return 0, nil, fmt.Errorf("the pod of the %s: %w", kind, err)
	}
	in := Inject(&pod, o)
	if in.Patch == nil {
		return 0, in.Warnings, nil
	}
	for _, op := range in.Patch {
		if err := applyAdd(template, op); err != nil {
			return 0, in.Warnings, err // our own fault
		}
	}
	return 1, in.Warnings, nil
}

// applyAdd applies an operation add (RFC 6902 §4.1), in place.
func applyAdd(object map[string]any, op PatchOp) error {
	text, err := json.Marshal(op.Value)
	if err != nil {
		return err
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return err
	}
	parts := strings.Split(strings.TrimPrefix(op.Path, "/"), "/")
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	last := unescape.Replace(parts[len(parts)-1])
	at := object
	for i, p := range parts[:len(parts)-1] {
		p = unescape.Replace(p)
		if list, ok := at[p].([]any); ok && i == len(parts)-2 {
			n := len(list)
			if last != "-" {
				if n, err = strconv.Atoi(last); err != nil || n > len(list) {
					return fmt.Errorf("patch %s: no such place", op.Path)
				}
			}
			at[p] = slices.Insert(list, n, value)
			return nil
		}
		next, ok := at[p].(map[string]any)
		if !ok {
			return fmt.Errorf("patch %s: no such place", op.Path)
		}
		at = next
	}
	at[last] = value
	return nil
}
