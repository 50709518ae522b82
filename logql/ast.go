package logql

// op is an operator as it is written.
type op string

const (
	opEq  op = "="
	opNeq op = "!="
	opRe  op = "=~"
	opNre op = "!~"
	opGt  op = ">"
	opGe  op = ">="
	opLt  op = "<"
	opLe  op = "<="

	opContains    op = "|="
	opContainsNot op = "!="
	opMatches     op = "|~"
	opMatchesNot  op = "!~"
	opLike        op = "|>"
	opLikeNot     op = "!>"
)

// Expr is a query: a *LogExpr or a MetricExpr. It is what was written;
// evaluation is compiled from it. It is immutable.
type Expr interface {
	// String returns the query in its usual form, on one line, which parses to
	// an equal query.
	String() string
	appendTo(dst []byte) []byte
}

// LogExpr is a log query: a selector and stages.
type LogExpr struct {
	selector []*labelExpr
	stages   []stageExpr
}

// stageExpr is one stage of a pipeline, as it is written.
type stageExpr interface {
	appendTo(dst []byte) []byte
}

// lineExpr is a line filter: op and one or more alternatives.
type lineExpr struct {
	op   op
	alts []lineAlt
}

// lineAlt is one of the texts of a line filter joined by or.
type lineAlt struct {
	text string
	ip   bool
	pos  int
}

// labelExpr compares the value of a name: with a string, a number or an
// address.
type labelExpr struct {
	name  string
	op    op
	text  string // the string, or the number as it was written
	num   number
	isNum bool
	ip    bool
	pos   int // of text
	leaf  int // number of this comparison within the expression
}

// boolExpr is two label filters joined by and, or.
type boolExpr struct {
	or   bool
	l, r labelFilter
}

// labelFilter is a *labelExpr or a *boolExpr.
type labelFilter interface {
	stageExpr
	isLabelFilter()
}

func (*labelExpr) isLabelFilter() {}
func (*boolExpr) isLabelFilter()  {}

// number is a literal or a value with its unit.
type number struct {
	unit  unit
	value float64 // seconds, bytes, or just a number
}

type unit uint8

const (
	plain unit = iota
	duration
	size
)

// parserExpr is one of the stages json and logfmt, which extract all or the
// named values, and unpack.
type parserExpr struct {
	kind      string // json, logfmt, unpack
	strict    bool   // logfmt
	keepEmpty bool   // logfmt
	fields    []extraction
}

// extraction is label="expression" of a parser.
type extraction struct {
	label, expr string
	pos         int
}

// captureExpr is one of the stages regexp and pattern.
type captureExpr struct {
	kind string
	text string
	pos  int
}

// lineFormatExpr is the stage line_format.
type lineFormatExpr struct {
	text string
	pos  int
}

// labelFormatExpr is the stage label_format.
type labelFormatExpr struct {
	items []labelFormat
}

// labelFormat sets a label from a template, or renames another one.
type labelFormat struct {
	name   string
	rename bool
	value  string // template or the other's name
	pos    int
}

// pickExpr is one of the stages drop and keep.
type pickExpr struct {
	keep  bool
	items []pick
}

// pick is a name, or a matcher of it.
type pick struct {
	name    string
	matcher *labelExpr
}

// decolorizeExpr is the stage decolorize.
type decolorizeExpr struct{}

// unwrapExpr is the stage unwrap; it stands only below a range.
type unwrapExpr struct {
	name string
	conv string // "", duration, duration_seconds, bytes
	pos  int
}

// MetricExpr is a query whose answer is numbers.
type MetricExpr interface {
	Expr
	isMetric()
}

// grouping is by (…) or without (…).
type grouping struct {
	without bool
	names   []string
}

// rangeExpr is an aggregation over the entries of a log query within a time
// range.
type rangeExpr struct {
	fn       string
	param    float64 // quantile_over_time
	log      *LogExpr
	unwrap   *unwrapExpr
	after    []labelFilter // stages behind unwrap
	interval int64         // ns
	offset   int64         // ns
	group    *grouping
	pos      int
}

// vectorExpr is an aggregation over series.
type vectorExpr struct {
	fn    string
	k     int // topk, bottomk, approx_topk
	group *grouping
	inner MetricExpr
	pos   int
}

// binaryExpr is an operator between two expressions.
type binaryExpr struct {
	op    string
	l, r  MetricExpr
	bool  bool
	match *matching
	// scalar says that both sides are numbers, without looking through all of
	// them again at every operator.
	scalar bool
	pos    int
}

// matching is on (…) or ignoring (…) with group_left or group_right.
type matching struct {
	on      bool
	names   []string
	side    side
	include []string
}

type side uint8

const (
	oneToOne side = iota
	groupLeft
	groupRight
)

// numberExpr is a literal number.
type numberExpr struct{ value float64 }

// vectorLitExpr is vector(number).
type vectorLitExpr struct{ value float64 }

// replaceExpr is label_replace.
type replaceExpr struct {
	inner                  MetricExpr
	dst, repl, src, regexp string
	pos                    int // of regexp
}

func (*rangeExpr) isMetric()     {}
func (*vectorExpr) isMetric()    {}
func (*binaryExpr) isMetric()    {}
func (*numberExpr) isMetric()    {}
func (*vectorLitExpr) isMetric() {}
func (*replaceExpr) isMetric()   {}

// binding tells how strongly an operator binds.
func binding(op string) int {
	switch op {
	case "or":
		return 1
	case "and", "unless":
		return 2
	case "==", "!=", ">", ">=", "<", "<=":
		return 3
	case "+", "-":
		return 4
	case "*", "/", "%":
		return 5
	case "^":
		return 6
	}
	return 0
}

func isComparison(op string) bool { return binding(op) == 3 }
func isSet(op string) bool        { b := binding(op); return b == 1 || b == 2 }
