package authn

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// presented is a header with a token, and what must come of it: no reason is a token that is believed.
type presented struct {
	name, header string
	reason       Reason
}

const noToken Reason = "there is no token"

// people are the keys of the test: one of each kind, and some that nobody knows.
type people struct {
	es, es384, es512, rs, rsAny, ps, ed, anonymous, stranger, impostor signer
}

func newPeople(t testing.TB) people {
	t.Helper()
	p := people{
		es: newSigner(t, "es", "ES256"), es384: newSigner(t, "es384", "ES384"), es512: newSigner(t, "es512", "ES512"), rs: newSigner(t, "rs", "RS256"),
		ed: newSigner(t, "ed", "EdDSA"), anonymous: newSigner(t, "", "ES256"), stranger: newSigner(t, "stranger", "ES256"), impostor: newSigner(t, "es", "ES256"),
	}
	p.ps = signer{"ps", "PS256", p.rs.private}
	p.rsAny = signer{"rs-any", "RS512", p.rs.private}
	return p
}

// jwks are the keys that the issuer publishes. The one key without an id is only there for tokens of its own.
func (p people) jwks(t testing.TB) []byte {
	t.Helper()
	rsAny, es384 := p.rsAny.jwk(t), p.es384.jwk(t)
	delete(rsAny, "alg")
	delete(es384, "alg")
	enc := with(p.rs.jwk(t), map[string]any{"use": "enc", "kid": "enc"})
	return jwksText(t, p.es.jwk(t), es384, p.es512.jwk(t), p.rs.jwk(t), rsAny, p.ps.jwk(t), p.ed.jwk(t), enc,
		map[string]any{"kty": "oct", "kid": "secret", "k": encode([]byte("secret"))})
}

// tokens are good and bad ones of every kind, for the keys of jwks and the policies of values.
func tokens(t testing.TB, p people) []presented {
	t.Helper()
	now := time.Now()
	from := func(d time.Duration) int64 { return now.Add(d).Unix() }
	var out []presented
	header := func(name, value string, reason Reason) { out = append(out, presented{name, value, reason}) }
	token := func(name, text string, reason Reason) { header(name, "Bearer "+text, reason) }
	claims := func(name string, change map[string]any, reason Reason) { token(name, p.es.token(t, change), reason) }

	for _, s := range []signer{p.es, p.es384, p.es512, p.rs, p.ps, p.ed, p.rsAny, {"rs-any", "PS384", p.rs.private}} {
		token("signed with "+s.id+" by "+s.alg, s.token(t, nil), "")
		s.id = ""
		token("signed by "+s.alg+" without a key id", s.token(t, nil), "")
	}
	token("signed by an algorithm that is not the key's", signer{"rs", "RS512", p.rs.private}.token(t, nil), UnknownKey)
	token("signed with an unknown key", p.stranger.token(t, nil), UnknownKey)
	token("signed with an unknown key without a key id", p.anonymous.token(t, nil), BadSignature)
	token("signed with another key of the same id", p.impostor.token(t, nil), BadSignature)
	token("signed with a key that is for encryption", signer{"enc", "RS256", p.rs.private}.token(t, nil), UnknownKey)
	token("of a key id in another case", signer{"ES", "ES256", p.es.private}.token(t, nil), UnknownKey)

	good := p.es.token(t, nil)
	parts := strings.Split(good, ".")
	token("with another's signature", strings.Join([]string{parts[0], encode([]byte(claimsText(t, map[string]any{"sub": "admin"}))), parts[2]}, "."), BadSignature)
	token("with a cut signature", good[:len(good)-8], BadSignature)
	none := encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1]
	token("unsigned", none+".", noToken)
	token("unsigned, with a signature", none+".AAAA", WrongAlgorithm)
	for _, alg := range []string{"None", "NONE", "nOnE", "", "RSA1_5", "ES256K", "es256"} {
		token("signed by "+alg, p.es.sign(t, map[string]any{"alg": alg, "kid": "es"}, claimsText(t, nil)), WrongAlgorithm)
	}
	for kid, key := range map[string][]byte{"es": publicPEM(t, p.es.private), "rs": publicPEM(t, p.rs.private), "secret": []byte("secret"), "": []byte("secret")} {
		token("HMAC with the public key "+kid, hmacToken(t, kid, key), WrongAlgorithm)
	}

	claims("of another issuer", map[string]any{"iss": "https://issuer.example/realms/other"}, WrongIssuer)
	claims("of the issuer with a slash", map[string]any{"iss": issuerURL + "/"}, WrongIssuer)
	claims("of the issuer in capitals", map[string]any{"iss": strings.ToUpper(issuerURL)}, WrongIssuer)
	claims("without an issuer", map[string]any{"iss": nil}, WrongIssuer)
	claims("for another audience", map[string]any{"aud": "account"}, WrongAudience)
	claims("without an audience", map[string]any{"aud": nil}, WrongAudience)
	claims("for nobody", map[string]any{"aud": []string{}}, WrongAudience)
	claims("for many", map[string]any{"aud": []string{"account", gatewayName}}, "")
	claims("for the second audience", map[string]any{"aud": "https://gateway.example/mcp"}, "")
	claims("for an audience with a slash", map[string]any{"aud": "https://gateway.example/mcp/"}, "")
	claims("for an audience of another scheme", map[string]any{"aud": []string{"http://gateway.example/mcp"}}, "")
	claims("for an audience without its scheme", map[string]any{"aud": "gateway.example/mcp"}, "")
	claims("for an audience with a scheme", map[string]any{"aud": "http://" + gatewayName}, "")
	claims("for an audience with two slashes", map[string]any{"aud": gatewayName + "//"}, WrongAudience)
	claims("for an audience with two schemes", map[string]any{"aud": "http://https://" + gatewayName}, WrongAudience)
	claims("for an audience in capitals", map[string]any{"aud": strings.ToUpper(gatewayName)}, WrongAudience)
	claims("for a longer audience", map[string]any{"aud": gatewayName + "-2"}, WrongAudience)

	claims("expired", map[string]any{"exp": from(-time.Hour)}, Expired)
	claims("expired within the skew", map[string]any{"exp": from(-15 * time.Second)}, "")
	claims("expired beyond the skew", map[string]any{"exp": from(-45 * time.Second)}, Expired)
	claims("without an expiry", map[string]any{"exp": nil}, NoExpiry)
	claims("with the expiry zero", map[string]any{"exp": 0}, NoExpiry)
	claims("with an expiry below one", map[string]any{"exp": 0.5}, NoExpiry)
	claims("with a broken expiry", map[string]any{"exp": float64(from(time.Hour)) + 0.5}, "")
	claims("not yet valid", map[string]any{"nbf": from(time.Hour)}, NotYetValid)
	claims("not yet valid within the skew", map[string]any{"nbf": from(20 * time.Second)}, "")
	claims("not yet valid beyond the skew", map[string]any{"nbf": from(45 * time.Second)}, NotYetValid)
	claims("issued in the future", map[string]any{"iat": from(time.Hour)}, "")
	claims("never issued", map[string]any{"iat": nil, "sub": nil}, "")

	for name, values := range map[string][]any{
		"iss": {7, []string{issuerURL}}, "sub": {7, []string{"a"}, json.RawMessage("null")}, "jti": {7, true},
		"iat": {"1", -1, true}, "nbf": {"1", -1}, "exp": {"99999999999", -1, 1e20, json.RawMessage("null"), []int{1}},
		"aud": {7, []any{gatewayName, 7}, map[string]any{"a": gatewayName}, json.RawMessage("null")},
	} {
		for _, v := range values {
			text, err := json.Marshal(v)
			require.NoError(t, err)
			claims("with "+name+" "+string(text), map[string]any{name: v}, Malformed)
		}
	}
	for name, payload := range map[string]string{"a list": "[]", "null": "null", "text": "hello", "half": `{"iss":`, "not UTF-8": "{\"iss\":\"\xff\"}"} {
		token("with "+name+" for claims", p.es.sign(t, p.es.header(), payload), Malformed)
	}
	for name, h := range map[string]string{
		"a list": "[]", "null": "null", "text": "hello", "no algorithm": `{"kid":"es"}`, "a number for an algorithm": `{"alg":7}`, "a number for a key id": `{"alg":"ES256","kid":7}`,
	} {
		token("with "+name+" for a header", p.es.signText(t, h, claimsText(t, nil)), anyReason)
	}

	text := claimsText(t, nil)
	payload := func(name, text string, reason Reason) { token(name, p.es.sign(t, p.es.header(), text), reason) }
	payload("with two audiences that are no list", text[:len(text)-1]+`,"aud":"x"}`, Malformed)
	payload("with two audiences the other way round", `{"aud":"x",`+text[1:], Malformed)
	payload("with claims like others", text[:len(text)-1]+`,"EXP":1,"Iss":"x"}`, "")
	payload("with more than claims", text+"x", Malformed)
	payload("with space around", " "+text+"\n", "")
	payload("with a byte order mark", "\xef\xbb\xbf"+text, Malformed)
	payload("with a number that is none", text[:len(text)-1]+`,"d":1e400}`, Malformed)
	payload("with a NUL", text[:len(text)-1]+`,"d":"\u0000"}`, "")
	payload("with an expiry with an exponent", strings.Replace(text, `"exp":`, `"exp":1e11,"was":`, 1), "")
	token("with two key ids", p.es.signText(t, `{"alg":"ES256","kid":"x","kid":"es"}`, text), Malformed)

	header("nothing", "", noToken)
	header("another scheme", "Basic bWNwOm1jcA==", noToken)
	header("the scheme alone", "Bearer", noToken)
	header("a small letter", "bearer "+good, "")
	header("all capitals", "BEARER "+good, noToken)
	header("no scheme", good, noToken)
	header("two spaces", "Bearer  "+good, noToken)
	header("a tab", "Bearer\t"+good, noToken)
	header("quotes", `Bearer "`+good+`"`, noToken)
	header("two tokens", "Bearer "+good+", Bearer "+good, noToken)
	header("words before", "Basic x, Bearer "+good, noToken)
	header("words behind", "Bearer "+good+" x", noToken)
	header("padding", "Bearer "+good+"=", noToken)
	header("empty parts", "Bearer "+strings.ReplaceAll(good, ".", ".."), noToken)
	header("four parts", "Bearer "+good+".AAAA", noToken)
	header("two parts", "Bearer a.b", noToken)
	header("no token at all", "Bearer a.b.c", Malformed)
	return out
}

// anyReason is for what must be refused, whatever the reason.
const anyReason Reason = "any"

func publicPEM(t testing.TB, k crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func hmacToken(t testing.TB, kid string, key []byte) string {
	t.Helper()
	h := map[string]any{"alg": "HS256"}
	if kid != "" {
		maps.Copy(h, map[string]any{"kid": kid})
	}
	head, err := json.Marshal(h)
	require.NoError(t, err)
	signed := encode(head) + "." + encode([]byte(claimsText(t, nil)))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}
