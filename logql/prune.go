package logql

import "slices"

// prune leaves out stages that cannot change the numbers of a query, as Loki
// does: line_format and decolorize if nothing behind them looks at the line,
// and then parsers if nobody looks at any label. What is not run cannot fail
// either. line tells whether the line as it ends up matters, all whether every
// label does; otherwise out are those that do.
func prune(stages []stageExpr, line, all bool, out []string) ([]stageExpr, error) {
	kept, names, err := pruneFormats(stages, line, all, out)
	if err != nil || names.all || len(names.names) > 0 {
		return kept, err
	}
	kept, _, err = pruneFormats(pruneParsers(kept, line), line, all, out)
	return kept, err
}

// pruneFormats leaves out what changes the line in vain, and returns what the
// rest looks at.
func pruneFormats(stages []stageExpr, line, all bool, out []string) (kept []stageExpr, names refs, err error) {
	names.add(out...)
	names.all = all
	for _, s := range slices.Backward(stages) {
		switch s := s.(type) {
		case *lineExpr, *captureExpr, *parserExpr:
			line = true
		case labelFilter:
			names.addFilter(s)
		case *lineFormatExpr:
			if !line {
				continue
			}
			if line, err = names.addText(s.text, s.pos); err != nil {
				return nil, names, err
			}
		case *decolorizeExpr:
			if !line {
				continue
			}
		case *labelFormatExpr:
			for _, f := range s.items {
				if f.rename {
					names.add(f.value)
					continue
				}
				reads, err := names.addText(f.value, f.pos)
				if err != nil {
					return nil, names, err
				}
				line = line || reads
			}
		case *pickExpr:
			if len(names.names) == 0 && !names.all && !s.mentions(errorLabel) {
				continue
			}
			for _, it := range s.items {
				if it.matcher != nil {
					names.add(it.name)
				}
			}
		}
		kept = append(kept, s)
	}
	slices.Reverse(kept)
	return kept, names, nil
}

// mentions reports whether the stage names a label.
func (e *pickExpr) mentions(name string) bool {
	return slices.ContainsFunc(e.items, func(p pick) bool { return p.name == name })
}

// addText adds the labels that a template looks at; it reports whether it looks
// at the line.
func (r *refs) addText(text string, pos int) (line bool, err error) {
	t, err := newTemplate(text, pos)
	if err != nil {
		return false, err
	}
	r.line = false
	r.addTemplate(t)
	return r.line, nil
}

// pruneParsers leaves out parsers, but not an unpack whose line matters.
func pruneParsers(stages []stageExpr, line bool) []stageExpr {
	var kept []stageExpr
	for _, s := range slices.Backward(stages) {
		switch s := s.(type) {
		case *parserExpr:
			if s.kind != "unpack" || !line {
				continue
			}
		case *captureExpr:
			continue
		case *lineExpr, *decolorizeExpr, *lineFormatExpr:
			line = true
		}
		kept = append(kept, s)
	}
	slices.Reverse(kept)
	return kept
}
