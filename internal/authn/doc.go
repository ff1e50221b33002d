// Package authn knows who calls: it keeps the signing keys of the issuer fresh, verifies access tokens in this process, for what the broker shows,
// and reads the signed list of grants that a policy engine may send along.
//
// Envoy verifies every token before a request comes near a server or the broker; the [Verifier] here reads the same token once more and must not come
// to another conclusion. It therefore judges as Envoy's jwt_authn filter does, to the second and to the type of each claim, with the same keys
// ([KeySet].JWKS is what Envoy is given) and in the same shape of header: "Bearer", a space and the token. Only what an issuer itself would have to
// make on purpose tells the two apart: "crit" in a token's header, JSON that is not quite JSON, or claims within claims a hundred levels deep.
//
// # Grants
//
// The header x-mcp-authorized holds a JWT, signed with ES256, whose claim "allowed-capabilities" is a string: the JSON text of an object with the
// members "tools", "prompts" and "resources". Each of them is an object from the name of a server, as in the metadata of the router ("namespace/name",
// or "name" standalone), or "*" for every server, to a list of that server's own names, without prefixes. "*", "x*" and "*x" are patterns; a "*"
// elsewhere stands for itself, since the templates of resources may have one. What is not listed is not granted.
//
//	{
//	  "iss": "authorino", "exp": 1760004918, "iat": 1760004618,
//	  "allowed-capabilities": "{\"tools\":{\"team-a/weather\":[\"get_*\"],\"*\":[\"echo\"]},\"prompts\":{}}"
//	}
//
// "exp" is required. This is what an Authorino wristband holds whose custom claim is the text of such an object.
//
// The package must not know the router, the broker, Envoy's configuration or MCP servers.
package authn
