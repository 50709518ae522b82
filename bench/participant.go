package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirlog/weir/bench/peers"
	"github.com/weirlog/weir/bench/peers/weir"
)

// A participant is a peer in one of its forms.
type participant struct {
	peer    peers.Peer
	form    peers.Form
	binary  string
	version string
}

func (p *participant) String() string { return p.peer.Name + " " + p.form.String() }

// floorPeer is the yardstick as a participant. Its requests are as large as
// weir's were: request returns their size in bytes of log file.
func floorPeer(request func(peers.Form) int) peers.Peer {
	return peers.Peer{
		Name:     floorName,
		Programs: []string{"floor"},
		Forms: []peers.Form{
			{Protocol: peers.JSONL, Compression: "zstd"}, {Protocol: peers.Elastic, Compression: "gzip"},
			{Protocol: peers.JSONL, Compression: "none"}, {Protocol: peers.Lines, Compression: "none"}, {Protocol: peers.Null, Compression: "none"},
		},
		Note: "the yardstick: the same bytes without ids, acknowledgements, positions, metadata, retries; ends at the end of the files",
		Prepare: func(j peers.Job) (peers.Command, error) {
			args := []string{j.Binary, "-root", j.Root, "-compression", j.Form.Compression, "-request", fmt.Sprint(request(j.Form))}
			switch j.Form.Protocol {
			case peers.JSONL:
				args = append(args, "-format", "jsonl", "-url", j.URL+"/insert/jsonline")
			case peers.Elastic:
				args = append(args, "-format", "elastic", "-url", j.URL+"/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason")
			default:
				args = append(args, "-format", "raw")
			}
			return peers.Command{Args: args, StdoutToSink: j.Form.Protocol == peers.Lines}, nil
		},
	}
}

const (
	floorName = "floor"
	weirName  = "weir"
)

// choose returns the participants: weir and the floor first, then the peers
// that are found. names and forms limit them; empty is all. missing are the
// peers that are not on this machine.
func choose(all []peers.Peer, own string, names, forms []string) (chosen []participant, missing []string) {
	for _, p := range all {
		if len(names) > 0 && !slices.Contains(names, p.Name) {
			continue
		}
		binary, ok := filepath.Join(own, p.Programs[0]), true
		if p.Name != weirName && p.Name != floorName {
			binary, ok = p.Find()
		}
		if !ok {
			missing = append(missing, p.Name)
			continue
		}
		version := ""
		if p.Version != nil {
			v, err := p.Version(binary)
			if err != nil {
				v = "version unknown: " + err.Error()
			}
			version = strings.TrimSpace(v)
		}
		for _, f := range p.Forms {
			if len(forms) == 0 || slices.Contains(forms, f.String()) || slices.Contains(forms, string(f.Protocol)) {
				chosen = append(chosen, participant{p, f, binary, version})
			}
		}
	}
	// What is compared with each other runs next to each other in time.
	slices.SortStableFunc(chosen, func(a, b participant) int { return cmp.Compare(order(a.form), order(b.form)) })
	return chosen, missing
}

// order is the place of a form in a round.
func order(f peers.Form) int {
	n := 2 * slices.Index([]peers.Protocol{peers.JSONL, peers.Native, peers.Elastic, peers.OTLP, peers.Loki, peers.Lines, peers.Null}, f.Protocol)
	if f.Compression == "none" {
		n++
	}
	return n
}

// everyone is weir, the floor and all peers.
func everyone(request func(peers.Form) int) []peers.Peer {
	return append([]peers.Peer{weir.Peer(), floorPeer(request)}, peers.All()...)
}
