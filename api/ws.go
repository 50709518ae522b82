package api

import _ "github.com/coder/websocket"
