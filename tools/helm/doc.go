// Package helm tests the chart in deploy/chart with Helm's own libraries. It is a
// module of its own, because they bring many others.
package helm
