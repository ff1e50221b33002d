package xds

import (
	_ "embed" // the script

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// judgeFilter looks at what a server answered where the router does not: see judge.lua. It is the innermost filter, so that policies and the
// router see the error that it makes of an answer.
const judgeFilter = "mcp-gateway-judge"

//go:embed judge.lua
var judgeScript string

func judge() proto.Message {
	return &luav3.Lua{DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: judgeScript}}}
}

// judgeByName is a judge that does nothing but on routes that name the script.
func judgeByName() proto.Message {
	return &luav3.Lua{SourceCodes: map[string]*corev3.DataSource{judgeFilter: {Specifier: &corev3.DataSource_InlineString{InlineString: judgeScript}}}}
}

// judged names the script.
func (b *builder) judged() *anypb.Any {
	return b.pack(&luav3.LuaPerRoute{Override: &luav3.LuaPerRoute_Name{Name: judgeFilter}})
}

// unjudged leaves a route's answers to the router.
func (b *builder) unjudged() *anypb.Any {
	return b.pack(&luav3.LuaPerRoute{Override: &luav3.LuaPerRoute_Disabled{Disabled: true}})
}
