package main

import (
	"testing"

	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/tail"
)

// An agent that read volumes and does not any more finds their files in its state.
func TestVolumesSwitchedOff(t *testing.T) {
	var off *podVolumes
	if w := off.wishes(tail.Container{UID: "8c5f", Volume: "logs", File: "app.log"}); w != (kube.Wishes{}) {
		t.Errorf("%+v", w)
	}
}
