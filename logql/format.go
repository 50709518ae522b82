package logql

// lineFormatStage makes a new line from a template.
type lineFormatStage struct {
	t *template
}

func (s *lineFormatStage) process(e *entry) bool {
	out, err := s.t.run(e)
	if err != nil {
		e.fail(errTemplate, err.Error())
		return true
	}
	e.line = out
	return true
}

// labelFormatStage sets and renames labels.
type labelFormatStage struct {
	items []labelFormat
	ts    []*template

	results []templateResult // of the current row
}

type templateResult struct {
	text []byte
	err  error
}

func newLabelFormatStage(x *labelFormatExpr) (*labelFormatStage, error) {
	s := &labelFormatStage{items: x.items}
	for _, f := range x.items {
		var t *template
		if !f.rename {
			var err error
			if t, err = newTemplate(f.value, f.pos); err != nil {
				return nil, err
			}
		}
		s.ts = append(s.ts, t)
	}
	s.results = make([]templateResult, len(s.ts))
	return s, nil
}

func (s *labelFormatStage) process(e *entry) bool {
	done := false
	for i := range s.items {
		f := &s.items[i]
		if f.rename {
			// Nobody takes a row's error away by renaming it.
			if v, ok := e.get(f.value); ok && f.value != f.name && f.value != errorLabel && f.value != detailsLabel {
				e.set(f.name, v)
				e.remove(f.value)
			}
			continue
		}
		if !done {
			// Templates see the labels as they are before the first of them.
			s.run(e, i)
			done = true
		}
		if r := &s.results[i]; r.err != nil {
			e.fail(errTemplate, r.err.Error())
		} else {
			e.set(f.name, view(r.text))
		}
	}
	return true
}

// run runs the templates from item i on.
func (s *labelFormatStage) run(e *entry, i int) {
	for ; i < len(s.ts); i++ {
		if s.ts[i] != nil {
			s.results[i].text, s.results[i].err = s.ts[i].run(e)
		}
	}
}
