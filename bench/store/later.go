package main

import (
	"context"
	"errors"
)

func (o *options) latency(context.Context, string, []participant) error { return errors.New("todo") }
func (o *options) laptop(context.Context, string, []participant) error  { return errors.New("todo") }
