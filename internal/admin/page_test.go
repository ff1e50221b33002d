package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// shown is a busy gateway with rules and loads.
func shown(t *testing.T) Options {
	t.Helper()
	set, err := policy.Parse("policies.yaml", []byte(`
policies:
  authentication: {issuer: "https://issuer.example.com", audiences: [a]}
  acl:
    - {name: readers, groups: [staff], allow: [{hints: {readOnly: true}}]}
    - {name: prompts, users: [alice], allow: [{prompt: "*"}]}
  rateLimits: [{name: few, tools: ["weather_*"], servers: [weather], per: user, limit: 5, window: 1m}]
`))
	require.NoError(t, err)
	o := busy()
	o.Endpoint, o.Issuers = "https://mcp.example.com/mcp", func() []string { return []string{"https://issuer.example.com/realms/x"} }
	o.Values, o.PolicyEngine = func() *policy.Set { return set }, func() bool { return true }
	o.Discovery = func(server string) Discovery { return Discovery{At: moment(9), Took: 1234 * time.Microsecond} }
	o.Streams, o.Calls = func() int { return 41 }, func() int { return 42 }
	o.Loads = func() map[string]Load { return map[string]Load{"weather": {Active: 15, Rate: 2, Errors: 0.5}} }
	o.Carried = func() map[string]Load { return map[string]Load{"weather": {Active: 2, Rate: 0.5}} }
	o.ToolCalls = func() Known { return Known{AllCalls, AllCalls} }
	return o
}

func page(t *testing.T, o Options, path string) (status int, body string) {
	t.Helper()
	rec := get(t, o, http.MethodGet, "localhost", path)
	assert.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"), path)
	return rec.Code, rec.Body.String()
}

// TestPages: each page tells what it is for, whatever there is.
func TestPages(t *testing.T) {
	tests := []struct {
		path string
		want []string
	}{
		{"/", []string{"1 of 3", "https://mcp.example.com/mcp", ">41<", ">42 now<", "connection refused", "servers[0].nam: unknown key", "cannot be given to Envoy", "no such thing", ">17<", ">2.5<", "edge-1"}},
		{"/servers/weather", []string{"http://weather.example.com:80/mcp", "2025-11-25", "with sessions", "1 ms", "17 now, 2 of them at the broker, 2.5 a second, 0.5 of them failing"}},
		{"/servers/weather", []string{"Most called tools", `data-label="Calls" class="number">1200<`, `data-label="Calls now" class="number">3<`, `data-label="Failed" class="number">1<`, "order=calls"}},
		{"/servers/late", []string{"None of its tools has been called yet."}},
		{"/servers/team/time", []string{"Last error:", "connection refused", "What to do:"}},
		{"/items/tools", []string{"weather_storm", "weather_alerts", "read-only", "1–3 of 3"}},
		{"/items/tools?order=calls", []string{`data-label="Calls" class="number">1200<`, `data-label="Calls/s" class="number">2.5<`, "let go on since", "1–3 of 3", `<option value="calls" selected>`}},
		{"/item/tools?name=weather_storm", []string{"1200 since", "2.5 a second; 3 now, 1 failed</dd>"}},
		{"/items/tools?q=STORM", []string{"weather_storm", "1–1 of 1"}},
		{"/items/tools?virtual=team%2Fstorms", []string{"weather_storm", "1–1 of 1"}},
		{"/items/tools?virtual=unknown", []string{"nothing"}},
		{"/items/tools?server=team%2Ftime&page=-1", []string{"now", "1–1 of 1"}},
		{"/items/resources", []string{"a:b"}},
		{"/items/templates", []string{"a:{b}"}},
		{"/item/tools?name=weather_storm", []string{"readOnly: yes", "group staff", "tool with readOnly=true", "5 calls in 1m, for each user", "The policy engine in front", "which calls it <code>storm</code>", "team/storms"}},
		{"/item/tools?name=weather_storm&user=&groups=staff", []string{"Allowed:", "readers"}},
		{"/item/tools?name=weather_storm&user=bob&groups=others", []string{"Denied:", "no rule allows it to this caller"}},
		{"/item/prompts?name=weather_ask&user=alice", []string{"Allowed:", "prompts"}},
		{"/item/resources?name=a%3Ab", []string{"a:b", "No rule allows it to anybody"}},
		{"/item/templates?name=a%3A%7Bb%7D", []string{"a:{b}", "The template with its variables filled in"}},
		{"/access", []string{"readers", "group staff", "of servers weather", "policies.acl[0]"}},
		{"/access?user=alice&groups=staff&q=weather", []string{"2 of 6", "denied", "allowed"}},
		{"/access?user=", []string{"0 of 6", "without a token"}},
		{"/login", []string{"Logging in"}},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			status, body := page(t, shown(t), tt.path)
			assert.Equal(t, http.StatusOK, status, body)
			text := strings.Join(strings.Fields(strings.NewReplacer("<small>", "", "</small>", "").Replace(body)), " ")
			for _, w := range tt.want {
				if !strings.Contains(text, w) { // the whole page would hide what is missing
					t.Errorf("%q is not there", w)
				}
			}
		})
	}
	for path, want := range map[string]string{
		"/servers/none": "There is no server", "/items/cats": "There are tools", "/item/tools?name=none": "There is nothing of the name", "/item/cats?name=x": "There is nothing",
	} {
		status, body := page(t, shown(t), path)
		assert.Equal(t, http.StatusNotFound, status, path)
		assert.Contains(t, body, want, path)
	}
	status, body := page(t, quiet(), "/access")
	assert.Equal(t, http.StatusNotFound, status)
	assert.Contains(t, body, "--policies")
}

// TestPagesBeforeThereIsAnything: a gateway without a snapshot has every page.
func TestPagesBeforeThereIsAnything(t *testing.T) {
	o := shown(t)
	o.Snapshot = func() *catalog.Snapshot { return nil }
	for path, want := range map[string]int{"/": 200, "/items/tools": 200, "/access?user=a": 200, "/servers/weather": 404, "/item/tools?name=a": 404} {
		status, _ := page(t, o, path)
		assert.Equal(t, want, status, path)
	}
}

// TestPagesAreLocked: whatever a server says of itself, a page runs only its own scripts, and talks to nobody else than the endpoint and the issuer.
func TestPagesAreLocked(t *testing.T) {
	o := shown(t)
	o.Issuers = func() []string {
		return []string{"https://issuer.example.com/realms/x", "javascript:alert(1)", "https://a b", "//x; script-src *"}
	}
	o.Snapshot = func() *catalog.Snapshot {
		return catalog.Build(catalog.Input{
			Servers: []config.Server{{Name: "evil", Enabled: true}},
			States: map[string]catalog.State{"evil": {Health: catalog.HealthReady, LastError: "<script>1</script>", Listing: &catalog.Listing{
				Instructions: "<script>2</script>", ServerInfo: json.RawMessage(`{"name":"<script>3</script>"}`),
				Items: [4][]json.RawMessage{messages(`{"name":"x","title":"<script>4</script>","description":"\" onclick=5 <script>","inputSchema":{"properties":{"</textarea><script>6":{"type":"\"'><script>","enum":["<script>"]}}}}`)},
			}}},
		})
	}
	for _, path := range []string{"/", "/servers/evil", "/items/tools", "/item/tools?name=x", "/item/tools?name=%3Cscript%3E", "/items/tools?q=%22%3E%3Cscript%3E"} {
		rec := get(t, o, http.MethodGet, "localhost", path)
		body := rec.Body.String()
		for _, tag := range strings.Split(body, "<script")[1:] {
			assert.True(t, strings.HasPrefix(tag, ` src="/assets/`), "%s: <script%.60s", path, tag)
		}
		assert.NotContains(t, body, `" onclick`)
		assert.Equal(t, "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self' https://mcp.example.com https://issuer.example.com"+
			"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'", rec.Header().Get("Content-Security-Policy"))
		assert.Equal(t, "same-origin", rec.Header().Get("Cross-Origin-Resource-Policy"))
		assert.NotContains(t, body, "style=", "the policy would not let it have any effect")
	}
}

func TestAssets(t *testing.T) {
	for path, kind := range map[string]string{"style.css": "text/css", "page.js": "text/javascript", "console.js": "text/javascript", "login.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		rec := get(t, busy(), http.MethodGet, "localhost", "/assets/"+path)
		assert.Equal(t, http.StatusOK, rec.Code, path)
		assert.Contains(t, rec.Header().Get("Content-Type"), kind)
		assert.NotRegexp(t, `(src|href|url|fetch)\W{1,3}https?:`, rec.Body.String(), "nothing is fetched from elsewhere: %s", path)
	}
	rec := get(t, busy(), http.MethodGet, "localhost", "/assets/base.html")
	assert.Equal(t, http.StatusNotFound, rec.Code)
}

// TestSearchOrder: what is called so comes before what only tells of it.
func TestSearchOrder(t *testing.T) {
	snap := catalog.Build(catalog.Input{
		Servers: []config.Server{{Name: "s", Enabled: true}},
		States: map[string]catalog.State{"s": {Health: catalog.HealthReady, Listing: &catalog.Listing{Items: [4][]json.RawMessage{messages(
			`{"name":"a","description":"about Time zones"}`, `{"name":"set_time"}`, `{"name":"time"}`, `{"name":"time_zone","title":1,"description":{}}`, `{"name":"zone"}`,
		)}}}},
	})
	var x indexes
	names := func(q query) (out []string) {
		for _, e := range search(x.of(snap, catalog.Tool), q, nil) {
			out = append(out, e.PublicName)
		}
		return out
	}
	assert.Equal(t, []string{"time", "time_zone", "set_time", "a"}, names(query{Text: " TIME "}))
	assert.Equal(t, []string{"time_zone", "a"}, names(query{Text: "zone time"}))
	assert.Len(t, names(query{}), 5)
	assert.Empty(t, names(query{Server: "other"}))
}

// TestFields: a form has what a schema asks for, in the schema's order, and never fails for a schema that is odd.
func TestFields(t *testing.T) {
	fields, free := schemaFields(json.RawMessage(`{"required":["z"],"additionalProperties":true,"properties":{
		"z":{"type":"string","enum":["a","b"],"default":"b"},"n":{"type":"integer","default":9007199254740993},"b":{"type":"boolean"},"s":{"type":"string"},
		"l":{"type":"array","items":{"type":["string","null"]}},"any":true,"e":{"enum":["x"]},"mixed":{"enum":[1,"x"]}}}`))
	assert.True(t, free)
	var said []string
	for _, f := range fields {
		said = append(said, fmt.Sprintf("%s %s %s %t %q %v", f.Name, f.Type, f.Input, f.Required, f.Default, f.Options))
	}
	assert.Equal(t, []string{
		`z string select true "b" [a b]`, `n integer number false "9007199254740993" []`, `b boolean checkbox false "" []`, `s string text false "" []`,
		`l array of string or null json false "" []`, `any any json false "" []`, `e string select false "" [x]`, `mixed any json false "" [1 x]`,
	}, said)
	for _, odd := range []string{``, `1`, `[]`, `{"properties":1}`, `{"properties":{"a":`, `{"required":1,"properties":{"a":1}}`, `{"properties":{"a":{},"a":{}}}`} {
		assert.NotPanics(t, func() { schemaFields(json.RawMessage(odd)) }, odd)
	}
}

func BenchmarkSearch(b *testing.B) {
	var many []json.RawMessage
	for i := range 10_000 {
		many = append(many, json.RawMessage(fmt.Sprintf(`{"name":"tool_%d","description":"Does number %d of very many things that somebody may want to have done","inputSchema":{"type":"object"}}`, i, i)))
	}
	snap := catalog.Build(catalog.Input{Servers: []config.Server{{Name: "s", Enabled: true}}, States: map[string]catalog.State{"s": {Health: catalog.HealthReady, Listing: &catalog.Listing{Items: [4][]json.RawMessage{many}}}}})
	var x indexes
	for b.Loop() {
		search(x.of(snap, catalog.Tool), query{Text: "number 9876"}, nil)
	}
}

// TestOrders: what has been called most comes first, and what is equal stays in the order of names, or of how well it is found.
func TestOrders(t *testing.T) {
	snap := busy().Snapshot()
	var x indexes
	names := func(order string) (out []string) {
		for _, e := range busiest(search(x.of(snap, catalog.Tool), query{}, nil), order) {
			out = append(out, e.PublicName)
		}
		return out
	}
	assert.Equal(t, []string{"now", "weather_alerts", "weather_storm"}, names(""))
	assert.Equal(t, names(""), names("nonsense"))
	assert.Equal(t, []string{"weather_storm", "now", "weather_alerts"}, names(byCalls))
	for _, order := range []string{byRate, byOpen, byFailed} {
		assert.Equal(t, []string{"weather_storm", "now", "weather_alerts"}, names(order), order)
	}
	_, body := page(t, busy(), "/items/tools?order=calls&q=a&server=weather&page=7")
	assert.Less(t, strings.Index(body, ">weather_storm<"), strings.Index(body, ">weather_alerts<"))
}

// TestOrderStaysOnOtherPages: whoever turns the page of a list goes on in its order.
func TestOrderStaysOnOtherPages(t *testing.T) {
	assert.Equal(t, "/items/tools?order=rate&page=2", readQuery(url.Values{"order": {"rate"}}).link("/items/tools", 2))
}

// TestCallsThatAreNotKnown: where nobody tells how calls go on that Envoy carries, or how they ended, nothing pretends to.
func TestCallsThatAreNotKnown(t *testing.T) {
	o := shown(t)
	o.ToolCalls = nil
	for path, want := range map[string]string{
		"/items/tools": "at the broker", "/servers/weather": "at the broker", "/item/tools?name=weather_storm": "3 now at the broker, 1 failed at the broker</dd>",
	} {
		_, body := page(t, o, path)
		assert.Contains(t, body, want, path)
		assert.NotContains(t, body, "Calls now</th>", path)
		assert.NotContains(t, body, `data-label="Failed"`, path)
		assert.NotContains(t, body, `value="failed"`, path)
	}
	_, body := page(t, o, "/items/tools")
	assert.Contains(t, body, "--envoy-call-reports")
	_, body = page(t, shown(t), "/items/tools")
	assert.NotContains(t, body, "--envoy-call-reports")
	_, body = page(t, o, "/items/prompts")
	assert.NotContains(t, body, "data-live", "prompts are not counted")
	assert.NotContains(t, body, "Order by")
}

// TestCallsWithoutEnvoysWord: where no Envoy tells of calls, those of the broker are not taken for all.
func TestCallsWithoutEnvoysWord(t *testing.T) {
	o := shown(t)
	o.Loads = nil
	_, body := page(t, o, "/")
	assert.Contains(t, body, `<td data-label="At the broker" class="number">2</td>`)
	assert.NotContains(t, body, "Calls now")
	_, body = page(t, o, "/servers/weather")
	assert.Contains(t, body, "2 at the broker now")
	assert.NotContains(t, body, "a second")
}
