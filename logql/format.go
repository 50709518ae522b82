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
	return s, nil
}

func (s *labelFormatStage) process(e *entry) bool {
	for i := range s.items {
		f := &s.items[i]
		if f.rename {
			if v, ok := e.get(f.value); ok {
				e.set(f.name, v)
				if f.value != f.name {
					e.remove(f.value)
				}
			}
			continue
		}
		out, err := s.ts[i].run(e)
		if err != nil {
			e.fail(errTemplate, err.Error())
			continue
		}
		e.set(f.name, view(out))
	}
	return true
}
