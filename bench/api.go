package main

import "github.com/weirlog/weir/bench/peers"

type apiServer struct{}

func (*apiServer) configure(*peers.Command) error { return nil }
