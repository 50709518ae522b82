package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/weirlog/weir/record"
)

// dockerContainer is what docker wrote about a container beside its log.
type dockerContainer struct {
	ID     string
	Name   string
	Config struct {
		Image  string
		Labels map[string]string
	}
	State struct{ Running bool }
}

// dockerConfigMax is more than any real file has.
const dockerConfigMax = 4 << 20

// dockerAbout reads what docker wrote about the container whose log this is. ok
// is false if there is nothing to read; the file's format is docker's own matter,
// so that anything odd in it is no error.
func dockerAbout(log string) (c dockerContainer, ok bool) {
	file := filepath.Join(filepath.Dir(log), "config.v2.json")
	st, err := os.Lstat(file)
	if err != nil || !st.Mode().IsRegular() || st.Size() > dockerConfigMax {
		return c, false
	}
	text, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(text, &c) != nil {
		return c, false
	}
	c.Name = strings.TrimPrefix(c.Name, "/")
	return c, c.Name != ""
}

// service is the name of the service that the container is one of: that of
// compose, else its own.
func (c *dockerContainer) service() string {
	if s := c.Config.Labels["com.docker.compose.service"]; s != "" {
		return s
	}
	return c.Name
}

// excluded says that the container's labels ask not to read its log.
func (c *dockerContainer) excluded() bool { return c.Config.Labels["weir.dev/exclude"] == "true" }

// attrs are the container's attributes. A project of compose is to docker what a
// namespace is to Kubernetes.
func (c *dockerContainer) attrs() []record.Attr {
	return []record.Attr{
		{Name: record.AttrNamespace, Value: c.Config.Labels["com.docker.compose.project"]},
		{Name: record.AttrContainer, Value: c.Name},
		{Name: record.AttrContainerID, Value: c.ID},
		{Name: record.AttrImage, Value: c.Config.Image},
		{Name: record.AttrApp, Value: c.service()},
		{Name: record.AttrService, Value: c.service()},
	}
}
