package config

// Config is a whole, checked configuration.
type Config struct {
	Cluster   string    `yaml:"cluster" doc:"Name of the cluster, the attribute cluster of every record."`
	Node      string    `yaml:"node" doc:"Name of this node, the attribute node of every record; the host's name if empty."`
	Inputs    Inputs    `yaml:"inputs" doc:"Where records come from: a map from component id to settings."`
	Multiline Multiline `yaml:"multiline" default:"off" doc:"Joining of lines of files that belong together: auto (stack traces of all these), java, go, python, node, dotnet, ruby, off, first:REGEXP, or a map of traces, first, max_lines (2000), max_bytes (256KiB) and wait (1s)."`
	Pipeline  []Step    `yaml:"pipeline" doc:"Steps that every record passes, in order; each is a map with a single key."`
	Outputs   Outputs   `yaml:"outputs" doc:"Where records go: a map from component id to settings."`
	Routes    []Route   `yaml:"routes" doc:"Which records go to which outputs; none means everything to every output. The first match wins unless it says continue; a record that no route matches goes nowhere."`
	Store     Store     `yaml:"store" doc:"The embedded store. There is one as soon as there is an output of type store."`
	Listen    Listen    `yaml:"listen" doc:"Addresses this process answers on."`
	State     Path      `yaml:"state" default:"/var/lib/weir" doc:"Directory of checkpoints, dead letters and, unless it has a path of its own, the store. It must survive a restart."`
	Limits    Limits    `yaml:"limits" doc:"What the process may use."`
	Log       LogConfig `yaml:"log" doc:"weir's own log, on stderr."`
	Sidecar   Sidecar   `yaml:"sidecar" doc:"When a sidecar ends, and what it leaves behind."`
	Webhook   Webhook   `yaml:"webhook" doc:"The admission webhook that injects sidecars."`

	from *provenance
}

// provenance is where a configuration came from. It is kept behind a pointer,
// where fmt does not look: it holds secrets.
type provenance struct {
	*hidden
	nodes map[string]given // by path
	files []string         // everything that was read
}

// Route sends the records that meet a condition to some outputs.
type Route struct {
	When     Condition `yaml:"when" doc:"Condition in LogQL; without it every record matches."`
	To       []ID      `yaml:"to" required:"true" doc:"Ids of the outputs."`
	Continue bool      `yaml:"continue" default:"false" doc:"Go on with the next route after a match."`
}

// Limits bounds what the process uses.
type Limits struct {
	Memory Size     `yaml:"memory" word:"auto=0" min:"4MiB" default:"auto" doc:"Bytes of records in memory over all inputs and outputs; when they are spent, files wait. auto follows the container's memory limit."`
	Stop   Duration `yaml:"stop" default:"20s" min:"1s" max:"1h" doc:"How long a stop waits for outputs to take what is under way, and what waits on disk, as long as they take some. In Kubernetes leave ten seconds to terminationGracePeriodSeconds."`
}

// LogConfig is about weir's own log.
type LogConfig struct {
	Level  string `yaml:"level" enum:"debug,info,warn,error" default:"info" doc:"Least level that is written."`
	Format string `yaml:"format" enum:"text,json" default:"text" doc:"Form of a line."`
}

// Step is one step of the pipeline. Exactly the field that Kind names is set.
type Step struct {
	Kind string `yaml:"-"` // the key: parse, drop, keep, set, remove or rate_limit

	Parse  Parser            `yaml:"parse" doc:"Finds level, time and fields in the body. auto knows JSON objects, logfmt, klog and levels in text; access is for access logs of nginx and Apache; regex:REGEXP makes fields of named groups, and as a map {regex, time, types}."`
	Drop   Condition         `yaml:"drop" doc:"Drops the records that meet the condition."`
	Keep   Condition         `yaml:"keep" doc:"Drops the records that do not meet the condition."`
	Set    map[string]string `yaml:"set" doc:"Sets fields: a map from name to text, in which {{.namespace | trimPrefix \"team-\"}} and alike are filled in."`
	Remove []string          `yaml:"remove" doc:"Removes the fields with these names."`

	RateLimit RateLimit `yaml:"rate_limit" doc:"Bounds the records per container, or other attributes: 500/s, 5MiB/s, or a map of per ([namespace, pod, container]), lines or bytes, burst and over (drop, sample)."`
}

// Inputs are the inputs in the order in which they were given.
type Inputs []Input

// Input is one input.
type Input struct {
	ID ID
	// Settings is *KubernetesInput, *FileInput, or a PushedInput: *OTLPInput,
	// *HTTPInput, *SyslogInput …
	Settings any
}

// Hold says how generations of log files that were deleted before they were
// read stay readable.
type Hold struct {
	By       string   `yaml:"by" enum:"fd,link" default:"fd" doc:"fd: by open handles, until a restart. link: by hard links in dir, over restarts too."`
	Dir      Path     `yaml:"dir" default:"/var/log/.weir" doc:"Directory of the hard links; it must be on the mount of the log files, and writable."`
	MaxBytes Size     `yaml:"max_bytes" default:"2GiB" doc:"Bytes held at most; what exceeds them is given up, counted and named."`
	MaxAge   Duration `yaml:"max_age" default:"24h" min:"1s" doc:"How long a generation is held at most."`
}

// Tail is what all inputs that read files have in common.
type Tail struct {
	Start        string    `yaml:"start" enum:"checkpoint,end" default:"checkpoint" doc:"Where to start. checkpoint: where it stopped, else at the beginning. end: where it stopped, else at the end."`
	MaxLine      Size      `yaml:"max_line" default:"1MiB" min:"1KiB" max:"64MiB" doc:"Longer lines are split and marked."`
	Hold         Hold      `yaml:"hold" doc:"How long files that were rotated away or deleted unread stay readable."`
	PollInterval Duration  `yaml:"poll_interval" default:"250ms" min:"10ms" max:"1m" doc:"How often files are looked at."`
	Multiline    Multiline `yaml:"multiline" doc:"Joining of lines, as at the top level, whose value counts if this is not given."`
	RateLimit    RateLimit `yaml:"rate_limit" doc:"Bounds the records per container, or other attributes, before the pipeline; as the step of that name, and over: wait is possible: reading waits."`
	MaxOpen      int       `yaml:"max_open" default:"16384" min:"16" max:"1000000" doc:"Files kept open at most, beyond those whose unread rest would be lost, and not more than half of what the system allows the process."`
}

// KubernetesInput reads the logs of this node's containers.
type KubernetesInput struct {
	Root           Path              `yaml:"root" default:"/var/log/pods" doc:"Directory of the container logs."`
	Format         string            `yaml:"format" enum:"auto,cri,docker" default:"auto" doc:"Form of the files; auto looks at each line."`
	Metadata       string            `yaml:"metadata" enum:"auto,api,path" default:"auto" doc:"Where labels and owners come from. api: from the API server, and it must answer. path: only the names in the file's path. auto: from the API server if it can be reached."`
	MetadataWait   Duration          `yaml:"metadata_wait" default:"5s" min:"1ms" max:"1h" doc:"How long a new container's records wait for its labels."`
	Kubeconfig     Path              `yaml:"kubeconfig" doc:"File with the access to the API server; the pod's service account if empty."`
	PodLabels      []string          `yaml:"pod_labels" default:"[*]" doc:"Pod labels that records carry; * stands for any run of characters."`
	PodAnnotations []string          `yaml:"pod_annotations" doc:"Pod annotations that records carry."`
	Volumes        Path              `yaml:"volumes" doc:"Kubelet's directory of pods, /var/lib/kubelet/pods: files in emptyDirs that pods name in the annotation weir.dev/files are read, too. Off if empty. The process must be able to read them."`
	Exclude        Condition         `yaml:"exclude" doc:"Condition on the attributes of a container; those that meet it are not read. weir's own pod never is."`
	Labels         map[string]string `yaml:"labels" doc:"Attributes added to every record."`
	Tail           `yaml:",inline"`
}

// FileInput reads plain log files.
type FileInput struct {
	Paths   []Glob            `yaml:"paths" required:"true" doc:"Files to read, with wildcards; their rotated generations are found beside them."`
	Exclude []Glob            `yaml:"exclude" doc:"Files not to read."`
	Format  string            `yaml:"format" enum:"plain,auto,cri,docker" default:"plain" doc:"Form of the files; plain is one record a line."`
	Parse   Parser            `yaml:"parse" doc:"Parser for this input's records, before the pipeline; as the step of that name."`
	Labels  map[string]string `yaml:"labels" doc:"Attributes added to every record; input: audit names them audit instead of file."`
	Idle    Duration          `yaml:"idle" default:"5s" min:"100ms" doc:"After how long a last line without newline is taken as it is."`
	Rotate  Rotate            `yaml:"rotate" doc:"Truncates files of applications that never rotate. Between the last look and the truncation, some microseconds, an application may write what nobody will read: it is no more than weir_rotate_maybe_lost_bytes_total says."`
	Reclaim string            `yaml:"reclaim" enum:"off,punch" default:"off" doc:"punch: the disk space of lines that every output has is given back, all but the first 4KiB of a file; the file keeps its size, and NULs are read there. For files that nobody else reads, such as those of an emptyDir, and that weir may write to."`
	Tail    `yaml:",inline"`
}

// Rotate says when files are truncated.
type Rotate struct {
	Size Size `yaml:"size" word:"off=0" min:"64KiB" default:"off" doc:"Size above which a file is truncated, when what is not delivered of it (64MiB at most) has been copied beside it."`
	Keep int  `yaml:"keep" default:"0" min:"0" max:"1000" doc:"Copies kept when they are delivered. A copy holds only what was not delivered, and the first 4KiB."`
}

// Input returns the input with that id, nil if there is none.
func (c *Config) Input(id ID) *Input {
	for i := range c.Inputs {
		if c.Inputs[i].ID == id {
			return &c.Inputs[i]
		}
	}
	return nil
}

// Output returns the output with that id, nil if there is none.
func (c *Config) Output(id ID) *Output {
	for i := range c.Outputs {
		if c.Outputs[i].ID == id {
			return &c.Outputs[i]
		}
	}
	return nil
}

// Files returns everything that was read to make the configuration: files and
// directories as given, and what ${file:…} named. Give it to Fingerprint to
// learn whether a reload is due.
func (c *Config) Files() []string { return c.from.files }
