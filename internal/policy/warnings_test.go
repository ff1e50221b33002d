package policy

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWarnings(t *testing.T) {
	const authentication = "authentication: {issuer: 'https://i', audiences: [a]}"
	tests := map[string]struct {
		values string
		want   []string
	}{
		"nothing to say":      {authentication + ", acl: [{groups: [g], allow: ['a*', {server: s}, {hints: {readOnly: true}}]}, {roles: [r], allow: ['*']}]", nil},
		"no authentication":   {"acl: [{everyone: true, allow: ['*']}]", []string{"there is no authentication: whoever reaches the gateway may call it"}},
		"no acl":              {authentication, []string{"there is no acl: every caller with a token may have everything"}},
		"an empty acl":        {authentication + ", acl: []", []string{"policies.acl is empty: nobody may call anything"}},
		"an issuer over http": {"authentication: {issuer: 'http://i', audiences: [a]}, acl: [{groups: [g], allow: [x]}]", []string{"policies.authentication fetches keys over plain http: whoever is in between can make tokens; use https"}},
		"an issuer here":      {"authentication: {issuer: 'http://127.0.0.1:1', audiences: [a]}, acl: [{groups: [g], allow: [x]}]", nil},
		"hints that exclude each other": {
			authentication + ", acl: [{groups: [g], allow: [{hints: {readOnly: true, destructive: true}}]}]",
			[]string{"policies.acl[0].allow[0] never matches: a tool that is read-only is not destructive"},
		},
		"twice the same": {
			authentication + ", acl: [{groups: [g], allow: [x, x]}]",
			[]string{"policies.acl[0].allow[1] changes nothing: policies.acl[0].allow[0] allows it already"},
		},
		"inside of another": {
			authentication + ", acl: [{groups: [g], allow: [abc, 'ab*', {server: s, tool: t}, {server: s}, {server: s, hints: {readOnly: true}}]}]",
			[]string{
				"policies.acl[0].allow[0] changes nothing: policies.acl[0].allow[1] allows it already",
				"policies.acl[0].allow[2] changes nothing: policies.acl[0].allow[3] allows it already",
				"policies.acl[0].allow[4] changes nothing: policies.acl[0].allow[3] allows it already",
			},
		},
		"everyone has it": {
			authentication + ", acl: [{groups: [g], allow: [abc]}, {everyone: true, allow: ['*c']}]",
			[]string{"policies.acl[0].allow[0] changes nothing: policies.acl[1].allow[0] allows it already"},
		},
		"an end is no beginning": {authentication + ", acl: [{groups: [g], allow: ['a*', '*a', 'ab*', '*ba']}]", []string{
			"policies.acl[0].allow[2] changes nothing: policies.acl[0].allow[0] allows it already",
			"policies.acl[0].allow[3] changes nothing: policies.acl[0].allow[1] allows it already",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, parse(t, "policies: {"+tt.values+"}").Warnings())
		})
	}
}
