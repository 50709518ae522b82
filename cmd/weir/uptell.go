package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/weirlog/weir/config"
)

// planUp says what `weir up` would do.
func planUp(flags *upFlags, args []string, w io.Writer) error {
	u, err := newUp(flags, args, nil)
	if err != nil {
		return err
	}
	u.opts.Incomplete = true // the pipe is not there
	cfg, _, err := config.Load(u.opts)
	if err != nil {
		return err
	}
	u.tellFound(w, "")
	switch {
	case u.state == "":
		fmt.Fprintln(w, "keeping  nothing")
	case runs(u.state) && len(args) == 1 && args[0] == "-":
		fmt.Fprintf(w, "keeping  with the weir that runs on %s\n", u.state)
	case runs(u.state):
		return u.busy()
	default:
		tellKeeping(w, string(cfg.Store.Path), &cfg.Store)
		address := ""
		if a := string(cfg.Listen.HTTP); a != "" {
			address = "http://" + a
		}
		u.tellLook(w, address)
	}
	fmt.Fprintln(w, "This was the plan; nothing was started.")
	return nil
}

func (u *upPlan) tellFound(w io.Writer, where string) {
	fmt.Fprintf(w, "reading  %s%s\n", u.found, where)
	for _, l := range u.about {
		fmt.Fprintf(w, "         %s\n", l)
	}
}

func tellKeeping(w io.Writer, dir string, s *config.Store) {
	bounds := "for ever"
	if s.Retention > 0 {
		bounds = "for " + s.Retention.String()
	}
	if s.MaxDisk > 0 {
		bounds += " or up to " + size(int64(s.MaxDisk))
	}
	fmt.Fprintf(w, "keeping  %s, %s\n", dir, bounds)
}

// command is a command line that asks the store of this process.
func (u *upPlan) command(what string) string {
	if u.flags.state != "" {
		return "weir " + what + " --state " + shellWord(u.flags.state)
	}
	return "weir " + what
}

func (u *upPlan) tellLook(w io.Writer, address string) {
	fmt.Fprintf(w, "look     %s\n", u.command("query "+shellWord(u.query)))
	if u.once {
		return // there is nothing to follow
	}
	fmt.Fprintf(w, "         %s   live, from another terminal\n", u.command("tail"))
	if address != "" {
		taken := ""
		if u.address != "" && string(u.cfg.Listen.HTTP) == u.anyPort && u.address != "http://"+u.anyPort {
			taken = " (" + u.anyPort + " is taken)"
		}
		fmt.Fprintf(w, "         Grafana: a Loki data source with %s%s\n", address, taken)
	}
}

// introduce tells what is read, where it is kept, and how to look.
func (u *upPlan) introduce(w io.Writer) {
	again := ""
	for id := range u.process.inputs {
		u.positions.Range(string(id)+"/chain/", func(string, []byte) bool {
			again = ", from where the last start stopped"
			return false
		})
	}
	u.tellFound(w, again)
	if u.pushed != "" {
		fmt.Fprintf(w, "keeping  with the weir that runs already, on %s\n", u.pushed)
		return
	}
	if u.keep == nil {
		return
	}
	tellKeeping(w, u.keep.dir, &u.keep.settings)
	if !u.once { // else it says how to look when it is done
		u.tellLook(w, u.address)
	}
}

const (
	// Lines that come are held back until the last ones of the past are known, but
	// no longer than this.
	heldBack = time.Second
	// The past is told of as it is read only if that takes longer.
	longPast = 5 * time.Second
)

// catchUp watches how what was written before the start is read: the screen opens
// and it is told when that is done.
func (u *upPlan) catchUp(ctx context.Context, w io.Writer) {
	if u.shown == nil {
		return
	}
	if u.once || u.stdin != nil {
		u.shown.open(ctx, false) // what is last is known when all has been read
		return
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	began, told := time.Now(), time.Now()
	var goal map[string]int64 // what was there at the start, by container
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.Sub(began) > heldBack {
				u.shown.open(ctx, false)
			}
			done, all := u.readUpTo(&goal)
			if goal != nil && done >= all && u.engine.Waiting() == 0 {
				u.shown.open(ctx, true)
				u.tellPast(w)
				return
			}
			if goal != nil && now.Sub(told) > longPast {
				told = now
				fmt.Fprintf(w, "past     %s of %s read\n", size(done), size(all))
			}
		}
	}
}

// readUpTo returns how much there is of the past, in bytes, and how much of that
// has been read. The goal is set when all inputs have looked at their files once.
func (u *upPlan) readUpTo(goal *map[string]int64) (done, all int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	first := *goal == nil
	found := make(map[string]int64)
	for _, in := range u.process.inputs {
		if in.tail == nil {
			continue
		}
		s := in.tail.Stats()
		if first && !s.Time.After(in.made) {
			return 0, 0
		}
		for i := range s.Ledgers {
			l := &s.Ledgers[i]
			name := l.Container.UID + l.Container.Name()
			if first {
				found[name] = l.Written
			}
			if want, ok := (*goal)[name]; ok {
				done += min(l.Read+l.Lost, want)
			}
		}
	}
	if first {
		*goal = found
		return 0, 1 // not before the next look
	}
	for _, n := range *goal {
		all += n
	}
	return done, all
}

// tellPast says how much of the past can be searched now.
func (u *upPlan) tellPast(w io.Writer) {
	if u.keep == nil {
		return
	}
	_, past, age := u.shown.seen()
	before := u.keep.Recovery()
	earlier := before.SegmentRows + before.Rows
	of := ""
	if age >= time.Second {
		of = " of the last " + roughly(age)
	}
	switch {
	case past > 0 && earlier > 0:
		fmt.Fprintf(w, "past     %s%s are searchable now, and %s from before\n", manyLines(past), of, number(earlier))
	case past > 0:
		fmt.Fprintf(w, "past     %s%s are searchable now\n", manyLines(past), of)
	case earlier > 0:
		fmt.Fprintf(w, "past     %s are searchable\n", manyLines(earlier))
	}
}

// roughly is a duration as people say it: 45s, 12m, 3h, 5d.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(1, int(d.Seconds())))
	case d < 90*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()+0.5))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()+0.5))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24+0.5))
}

// sumUp tells what was kept.
func (u *upPlan) sumUp(w io.Writer) {
	select {
	case <-u.outputClosed:
		return // | head: nobody looks
	default:
	}
	if u.pushed != "" {
		all, _, _ := u.shown.seen()
		fmt.Fprintf(w, "%s handed over; look again with: %s\n", manyLines(all), u.command("query "+shellWord(u.query)))
		return
	}
	if u.keep == nil {
		return
	}
	s := u.keep.Stats()
	if s.TooOld > 0 {
		fmt.Fprintf(w, "%s older than %s and not kept: --set store.retention=90d\n", manyLinesAre(s.TooOld), u.keep.settings.Retention)
	}
	switch {
	case s.Rows > 0:
		fmt.Fprintf(w, "%s kept; look again with: %s\n", manyLines(s.Rows), u.command("query "+shellWord(u.query)))
	case u.once && u.stdin == nil && s.TooOld == 0:
		fmt.Fprintf(w, "nothing new since the last start; what was there before: %s (--no-store shows it all again)\n", u.command("query "+shellWord(u.query)))
	}
}
