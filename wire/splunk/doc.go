// Package splunk speaks the protocol of Splunk's HTTP Event Collector.
package splunk
