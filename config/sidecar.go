package config

// Sidecar says when a process that reads an application's files ends by itself, and
// what it leaves behind. It is for the role sidecar.
type Sidecar struct {
	UntilFile Path     `yaml:"until_file" doc:"Ends when this file is there and everything has been read and delivered: the last thing that the application does is to make it."`
	UntilExit string   `yaml:"until_exit" doc:"Ends when the application's processes have ended: any, or the name of a program. The pod needs shareProcessNamespace: true."`
	Native    bool     `yaml:"native" default:"false" doc:"It is a native sidecar (an init container with restartPolicy: Always), which Kubernetes ends after the application. Only 'weir check' asks."`
	Linger    Duration `yaml:"linger" default:"1s" min:"10ms" max:"1h" doc:"At the end: how long nothing may have been written before the files count as finished."`
	Message   Path     `yaml:"termination_message" default:"/dev/termination-log" doc:"File that says at the end how many lines were delivered and how many were not; Kubernetes shows it in the pod's status. It must be there: kubelet makes it."`
}

func (k *checker) sidecar() {
	if k.o.Preset != "sidecar" && k.given("sidecar") {
		k.warn("sidecar", "sidecar is for the role sidecar and means nothing here")
	}
}

// Endless says how a sidecar can be kept from keeping a Job alive, "" if something
// ends it.
func (s *Sidecar) Endless() string {
	if s.Native || s.UntilFile != "" || s.UntilExit != "" {
		return ""
	}
	return "nothing ends this sidecar before its pod is deleted, so that a Job with it never completes: make it a native sidecar (initContainers, restartPolicy: Always) and say sidecar.native: true, or set sidecar.until_file, or sidecar.until_exit with shareProcessNamespace: true"
}

// What a sidecar's outputs take unless something else is given: it shares its pod's
// memory, and with requests that are small a slow destination is seen to get on.
const (
	sidecarBatch       = 256 << 10
	sidecarBuffer      = 2 << 20
	sidecarConcurrency = 2
)

func (k *checker) sidecarOutput(p string, out *Output) {
	if k.o.Preset != "sidecar" {
		return
	}
	d := out.Settings.Common()
	if s, ok := out.Settings.(*StdoutOutput); ok {
		if !k.given(p + ".resume") {
			s.Resume = true
		}
		if !k.given(p + ".buffer.memory") {
			d.Buffer.Memory = max(1<<20, d.Batch.Bytes)
		}
		return
	}
	if !k.given(p+".batch.bytes") && !k.given(p+".buffer.memory") {
		d.Batch.Bytes, d.Buffer.Memory = min(d.Batch.Bytes, sidecarBatch), min(d.Buffer.Memory, sidecarBuffer)
	}
	if r := out.Settings.Endpoints(); r != nil && !k.given(p+".concurrency.max") {
		r.Concurrency.Max = min(r.Concurrency.Max, sidecarConcurrency)
	}
}
