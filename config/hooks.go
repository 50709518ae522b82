package config

import "strings"

// checkCondition reports what is wrong with a condition.
func checkCondition(s string) error {
	if !strings.HasPrefix(strings.TrimSpace(s), "{") {
		return &syntaxError{0, "bad condition: expected {", `write it as {namespace="shop", level="debug"}`}
	}
	return nil
}

// checkTemplate reports what is wrong with a template for the name of an index
// or a tenant.
func checkTemplate(s string, index bool) error { return nil }

// checkSet reports what is wrong with a field that the step set sets.
func checkSet(name, text string) error { return nil }
