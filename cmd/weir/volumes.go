package main

import (
	"context"
	"strings"
	"sync"

	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/tail"
)

// podVolumes are the annotated emptyDirs of this node's pods.
type podVolumes struct {
	pods *kube.Pods
	root string // kubelet's directory of pods

}

// list returns the volumes.
func (v *podVolumes) list() (out []tail.Volume) {
	for _, pod := range v.pods.WithFiles() {
		for _, f := range pod.Files {
			dir := tail.EmptyDir(v.root, pod.UID, f.Volume)
			if dir == "" {
				continue
			}
			k := tail.Container{Namespace: pod.Namespace, Pod: pod.Name, UID: pod.UID, Container: f.Container, Volume: f.Volume}
			out = append(out, tail.Volume{Dir: dir, Globs: []string{f.Glob}, Container: k})
		}
	}
	return out
}

// wishes returns what the annotation that a file was found by says of its lines;
// nothing if volumes were read once and are not any more, which is a nil v.
func (v *podVolumes) wishes(k tail.Container) (w kube.Wishes) {
	if v == nil {
		return w
	}
	pod, ok := v.pods.Pod(k.UID)
	if !ok {
		return w
	}
	for _, f := range pod.Files {
		if f.Volume != k.Volume || f.Container != k.Container || !tail.Fits(f.Glob, k.File) {
			continue
		}
		wish := func(value string) kube.Wish {
			if value == "" {
				return kube.Wish{}
			}
			return kube.Wish{Annotation: f.Annotation, Value: value}
		}
		w.Parser = [2]kube.Wish{wish(f.Parser), wish(f.Parser)}
		w.Multiline, w.Rate = wish(f.Multiline), wish(f.Rate)
		break
	}
	return w
}

// volumeAttrs are what the records of a file in a volume carry beside the pod's.
func volumeAttrs(k tail.Container) []record.Attr {
	if k.Volume == "" {
		return nil
	}
	return []record.Attr{{Name: record.AttrFile, Value: k.Volume + "/" + k.File}}
}

// podEvents writes what is wrong with pods' annotations to the pods. A nil one writes
// nothing.
type podEvents struct {
	events *kube.Events
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func startEvents(ctx context.Context, c kube.EventsConfig) (*podEvents, error) {
	events, err := kube.NewEvents(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e := &podEvents{events: events, cancel: cancel}
	e.wg.Go(func() { events.Run(ctx) })
	return e, nil
}

func (e *podEvents) stop() {
	if e != nil {
		e.cancel()
		e.wg.Wait()
	}
}

// warn tells of a pod.
func (e *podEvents) warn(k tail.Container, annotation, text string) {
	if e == nil || k.UID == "" {
		return
	}
	reason := "WeirAnnotationIgnored"
	if strings.HasPrefix(annotation, "file ") {
		reason = "WeirFileNotRead"
	}
	e.events.Warn(kube.PodRef{Namespace: k.Namespace, Name: k.Pod, UID: k.UID}, reason, annotation+": "+text)
}
