module github.com/weirlog/weir/client

go 1.25.0
