package stage

import "github.com/weirlog/weir/record"

// DetectLevels finds the severity of the records of b that have none.
func DetectLevels(b *record.Batch) {}
