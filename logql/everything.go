package logql

// Everything is the query for every line there is, {}, which Parse refuses: it
// is for what asks for all of a store on purpose, such as an export. It is a new
// one each time.
func Everything() *LogExpr { return &LogExpr{} }
