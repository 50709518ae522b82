module github.com/weirlog/weir/bench

go 1.26.0
