package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/weirlog/weir/logql"
	"github.com/weirlog/weir/stage"
	"github.com/weirlog/weir/wire"
)

// What other packages read is checked by their own parsers.

const conditionHint = `write it as {namespace="shop", level="debug"}`

// checkCondition reports what is wrong with a condition.
func checkCondition(s string) error {
	_, err := logql.ParseCondition(s)
	return conditionError(err)
}

// checkSelector reports what is wrong with a condition on a stream alone.
func checkSelector(s string) error {
	_, err := logql.ParseSelector(s)
	return conditionError(err)
}

// checkStoreSelector reports what is wrong with a selector of stored streams.
func checkStoreSelector(s string) error {
	_, err := logql.ParseMatchers(s)
	return conditionError(err)
}

func conditionError(err error) error {
	var se *logql.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &se):
		e := &syntaxError{off: se.Pos, msg: "bad condition: " + se.Msg}
		if se.Pos == 0 {
			e.hint = conditionHint
		}
		return e
	}
	return &syntaxError{-1, "bad condition: " + err.Error(), conditionHint}
}

var templatePrefix = regexp.MustCompile(`^template "(?:[^"\\]|\\.)*": |^template: `)

// checkTemplate reports what is wrong with a template for the name of an index
// or a tenant.
func checkTemplate(s string, index bool) error {
	rules := wire.SanitizeTenant
	if index {
		rules = wire.SanitizeIndex
	}
	if _, err := wire.ParseTemplate(s, rules); err != nil {
		return fmt.Errorf("bad template: %s", templatePrefix.ReplaceAllString(err.Error(), ""))
	}
	return nil
}

// checkSet reports what is wrong with a field that the step set sets.
func checkSet(name, text string) error {
	_, err := stage.NewSet(map[string]string{name: text})
	if err != nil {
		return fmt.Errorf("%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("set %q: ", name)))
	}
	return nil
}
