package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/weirlog/weir/checkpoint"
	"github.com/weirlog/weir/config"
	"github.com/weirlog/weir/kube"
	"github.com/weirlog/weir/metrics"
	"github.com/weirlog/weir/record"
	"github.com/weirlog/weir/tail"
)

// kubeWatch is the watch of this node's pods. A nil one knows nothing.
type kubeWatch struct {
	pods   *kube.Pods
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type podMetadata struct {
	attrs, labels, annotations []record.Attr
	exclude                    bool
	wishes                     kube.Wishes
	fileErrors                 []string
	strays                     []string // annotations that name a container which is none
	containers                 map[string]kube.Container
}

// podCache keeps pods beside the positions, so that a restart with the API
// server down still knows the right labels.
type podCache struct{ store *checkpoint.Store }

const podPrefix = "pod/"

func (c podCache) Range(f func(key string, value []byte)) {
	c.store.Range(podPrefix, func(key string, value []byte) bool {
		f(key[len(podPrefix):], value)
		return true
	})
}
func (c podCache) Put(key string, value []byte) { c.store.Put(podPrefix+key, value) }
func (c podCache) Delete(key string)            { c.store.Delete(podPrefix + key) }

// startKube begins to watch if an input wants metadata and there is a way to
// ask for it.
func (p *process) startKube(ctx context.Context) error {
	for _, in := range p.cfg.Inputs {
		s, ok := in.Settings.(*config.KubernetesInput)
		if !ok || s.Metadata == "path" {
			continue
		}
		pods, err := kube.New(kube.Config{
			NodeName: nodeName(p.cfg), Kubeconfig: string(s.Kubeconfig), Cache: podCache{p.positions},
			Labels: s.PodLabels, Annotations: s.PodAnnotations, Logger: p.log,
		})
		if err != nil {
			if s.Metadata == "api" {
				return &exitError{exitUnreachable, fmt.Errorf("inputs.%s.metadata is api: %w", in.ID, err)}
			}
			if inCluster() || s.Kubeconfig != "" {
				p.log.Warn("no metadata from the API server; names come from paths only", "error", err)
			}
			return nil
		}
		if s.Metadata == "api" {
			probe, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, err := pods.Probe(probe)
			cancel()
			if err != nil {
				return &exitError{exitUnreachable, fmt.Errorf("inputs.%s.metadata is api: %w", in.ID, err)}
			}
		}
		events, err := startEvents(ctx, kube.EventsConfig{Kubeconfig: string(s.Kubeconfig), Node: pods.Node(), Logger: p.log})
		if err != nil {
			return err // the same as above, which was good
		}
		p.troubles.events.Store(events)
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		p.kube = &kubeWatch{pods: pods, cancel: cancel}
		p.kube.wg.Go(func() {
			if err := pods.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				p.log.Error("the watch of pods ended; labels are no longer renewed", "error", err)
			}
		})
		return nil
	}
	return nil
}

func inCluster() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }

func (p *process) stopKube() {
	if p.kube != nil {
		p.kube.cancel()
		p.kube.wg.Wait()
	}
	p.troubles.events.Load().stop()
}

func (k *kubeWatch) version() uint64 { return k.pods.Version() }

// describe returns what is known about the container's pod; wait says that
// nothing is and that it is worth waiting a little.
func (k *kubeWatch) describe(c tail.Container) (m podMetadata, wait bool) {
	pod, ok := k.pods.Pod(c.UID)
	if !ok {
		return m, true
	}
	m.attrs = pod.Attrs(c.Container)
	if int(pod.Containers[c.Container].Restarts) != c.Restart || c.ID != "" {
		// The id of another life of the container is not this one's.
		for i := range m.attrs {
			if m.attrs[i].Name == record.AttrContainerID {
				m.attrs[i].Value = c.ID
			}
		}
	}
	m.labels, m.annotations = pod.Labels, pod.Annotations
	m.exclude = pod.Excluded(c.Container)
	m.wishes, m.strays, m.containers = pod.Wishes(c.Container), pod.Strays(), pod.Containers
	m.fileErrors = pod.FileErrors
	return m, false
}

func (k *kubeWatch) metrics() *metrics.Kube {
	if k == nil {
		return nil
	}
	s := k.pods.Stats()
	return &metrics.Kube{Synced: s.Synced, Pods: s.Pods, WatchRestarts: s.Restarts, LastEvent: s.LastEvent, AnnotationErrors: s.BadAnnotations}
}

type kubeStatus struct {
	Synced bool   `json:"synced"`
	Pods   int    `json:"pods"`
	Errors uint64 `json:"errors"`
}

func (k *kubeWatch) status() *kubeStatus {
	if k == nil {
		return nil
	}
	s := k.pods.Stats()
	return &kubeStatus{Synced: s.Synced, Pods: s.Pods, Errors: s.Errors}
}
