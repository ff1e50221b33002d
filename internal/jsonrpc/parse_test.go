package jsonrpc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseAccepts(t *testing.T) {
	for name, test := range map[string]struct {
		body               string
		kind               Kind
		id, method, params string
	}{
		"request":                         {`{"jsonrpc":"2.0","id":1,"method":"ping"}`, Request, `1`, `ping`, ``},
		"any order, white space":          {" \t\r\n{ \"method\" : \"a\" ,\n\"params\" : { } , \"id\" : \"x\" , \"jsonrpc\" : \"2.0\" } \n", Request, `"x"`, `a`, `{ }`},
		"string id":                       {`{"jsonrpc":"2.0","id":"é\u00e9","method":"a"}`, Request, `"é\u00e9"`, `a`, ``},
		"empty string id":                 {`{"jsonrpc":"2.0","id":"","method":"a"}`, Request, `""`, `a`, ``},
		"id above 2^53 (Invariant 1)":     {`{"jsonrpc":"2.0","id":9007199254740993,"method":"a"}`, Request, `9007199254740993`, `a`, ``},
		"id of 400 digits":                {`{"jsonrpc":"2.0","id":1` + strings.Repeat("0", 400) + `,"method":"a"}`, Request, `1` + strings.Repeat("0", 400), `a`, ``},
		"negative id":                     {`{"jsonrpc":"2.0","id":-7,"method":"a"}`, Request, `-7`, `a`, ``},
		"id zero":                         {`{"jsonrpc":"2.0","id":0,"method":"a"}`, Request, `0`, `a`, ``},
		"notification":                    {`{"jsonrpc":"2.0","method":"notifications/initialized"}`, Notification, ``, `notifications/initialized`, ``},
		"result":                          {`{"jsonrpc":"2.0","id":1,"result":{}}`, Response, `1`, ``, ``},
		"result null":                     {`{"jsonrpc":"2.0","id":1,"result":null}`, Response, `1`, ``, ``},
		"error":                           {`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}`, Response, `1`, ``, ``},
		"error without id":                {`{"jsonrpc":"2.0","error":{}}`, Response, ``, ``, ``},
		"error with id null":              {`{"jsonrpc":"2.0","id":null,"error":{}}`, Response, ``, ``, ``},
		"unknown members":                 {`{"jsonrpc":"2.0","x":[{}],"method":"a","y":null,"":1}`, Notification, ``, `a`, ``},
		"escapes in known keys":           {`{"js\u006fnrpc":"2\u002e0","\u0069d":5,"m\u0065thod":"a\/b","par\u0061ms":{"n\u0061me":"x"}}`, Request, `5`, `a/b`, `{"n\u0061me":"x"}`},
		"one key on both levels":          {`{"jsonrpc":"2.0","method":"a","params":{"method":1,"id":2,"params":{"params":3}}}`, Notification, ``, `a`, `{"method":1,"id":2,"params":{"params":3}}`},
		"duplicates deeper down":          {`{"jsonrpc":"2.0","method":"a","params":{"arguments":{"x":1,"x":2,"Name":0,"name":1}}}`, Notification, ``, `a`, `{"arguments":{"x":1,"x":2,"Name":0,"name":1}}`},
		"look-alikes of params on top":    {`{"jsonrpc":"2.0","method":"a","Name":1,"URI":2}`, Notification, ``, `a`, ``},
		"look-alikes of top in params":    {`{"jsonrpc":"2.0","method":"a","params":{"ID":1,"METHOD":2}}`, Notification, ``, `a`, `{"ID":1,"METHOD":2}`},
		"keys that differ in case":        {`{"jsonrpc":"2.0","method":"a","params":{"x":1,"X":2}}`, Notification, ``, `a`, `{"x":1,"X":2}`},
		"keys that are nearly known ones": {`{"jsonrpc":"2.0","method":"a","ids":1,"i":2,"params":{"names":1,"nam":2,"_met":3,"refs":4,"\u007fmeta":5}}`, Notification, ``, `a`, `{"names":1,"nam":2,"_met":3,"refs":4,"\u007fmeta":5}`},
		"every kind of value": {
			`{"jsonrpc":"2.0","method":"a","params":{"a":[1,-0,0.5,1e400,1E+2,2e-3,1.10,[],[[]],{},{"":{}}],"b":true,"c":false,"d":null,"e":"\"\\\/\b\f\n\r\t\u00aF"}}`,
			Notification, ``, `a`,
			`{"a":[1,-0,0.5,1e400,1E+2,2e-3,1.10,[],[[]],{},{"":{}}],"b":true,"c":false,"d":null,"e":"\"\\\/\b\f\n\r\t\u00aF"}`,
		},
		"strings of all lengths beyond ASCII": {`{"jsonrpc":"2.0","method":"a","é":"éèêëēĕėęě","日本語":"日","😀":"\ud83d\ude00 😀","\ud83d\ude01":1}`, Notification, ``, `a`, ``},
		"half a surrogate pair in a value":    {`{"jsonrpc":"2.0","method":"a","params":{"name":"\ud800"}}`, Notification, ``, `a`, `{"name":"\ud800"}`},
		"DEL in a string":                     {"{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"x\":\"\x7f\"}", Notification, ``, `a`, ``},
		"empty method":                        {`{"jsonrpc":"2.0","method":""}`, Notification, ``, ``, ``},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Parse([]byte(test.body), Limits{})
			require.Nil(t, err)
			require.Equal(t, test.kind, m.Kind)
			require.Equal(t, test.id, string(m.ID.Of(m.Body)))
			require.Equal(t, test.method, m.MethodName())
			require.Equal(t, test.params, string(m.Params.Of(m.Body)))
			require.Equal(t, test.body, string(m.Body))
		})
	}
}

func TestParseRefusesWhatIsNotJSON(t *testing.T) {
	const head = `{"jsonrpc":"2.0","id":1,"method":"a","x":`
	for name, test := range map[string]struct{ body, fault string }{
		"empty":                             {``, "not JSON: the body is empty"},
		"white space":                       {" \n", "not JSON: the document ends too early (byte 2)"},
		"text":                              {`hello`, "not JSON: expected a value (byte 0)"},
		"byte order mark":                   {"\xef\xbb\xbf{}", "not JSON: a byte order mark must not be there (byte 0)"},
		"byte order mark alone":             {"\xef\xbb\xbf", "not JSON: a byte order mark must not be there (byte 0)"},
		"byte order mark at the end":        {"{}\xef\xbb\xbf", "not JSON: something follows the end of the document (byte 2)"},
		"UTF-16":                            {"{\x00}\x00", "not JSON: expected a member's key in double quotes (byte 1)"},
		"NUL at the end":                    {"{}\x00", "not JSON: something follows the end of the document (byte 2)"},
		"form feed is not white space":      {"\f{}", "not JSON: expected a value (byte 0)"},
		"two documents":                     {`{} {}`, "not JSON: something follows the end of the document (byte 3)"},
		"a bracket too many":                {`{}}`, "not JSON: something follows the end of the document (byte 2)"},
		"truncated after {":                 {`{`, "not JSON: the document ends too early (byte 1)"},
		"truncated in a key":                {`{"jsonr`, "not JSON: the document ends too early (byte 7)"},
		"truncated after a key":             {`{"jsonrpc"`, "not JSON: the document ends too early (byte 10)"},
		"truncated after a colon":           {`{"jsonrpc":`, "not JSON: the document ends too early (byte 11)"},
		"truncated in a value":              {`{"jsonrpc":"2.`, "not JSON: the document ends too early (byte 14)"},
		"truncated after a value":           {`{"jsonrpc":"2.0"`, "not JSON: the document ends too early (byte 16)"},
		"truncated after a comma":           {`{"jsonrpc":"2.0",`, "not JSON: the document ends too early (byte 17)"},
		"truncated in params":               {`{"params":{"a":1`, "not JSON: the document ends too early (byte 16)"},
		"truncated in an array":             {`{"a":[1`, "not JSON: the document ends too early (byte 7)"},
		"truncated in a literal":            {`tru`, "not JSON: the document ends too early (byte 3)"},
		"truncated in an escape":            {`"\`, "not JSON: the document ends too early (byte 2)"},
		"truncated in a unicode escape":     {`"\u12`, "not JSON: the document ends too early (byte 5)"},
		"truncated in a number":             {`-`, "not JSON: the document ends too early (byte 1)"},
		"no key":                            {`{1:2}`, "not JSON: expected a member's key in double quotes (byte 1)"},
		"no key in a deeper object":         {`{"a":{"b":{1:2}}}`, "not JSON: expected a member's key in double quotes (byte 11)"},
		"no key behind a comma":             {`[{"a":1,2}]`, "not JSON: expected a member's key in double quotes (byte 8)"},
		"key in single quotes":              {`{'a':1}`, "not JSON: expected a member's key in double quotes (byte 1)"},
		"no colon":                          {`{"a" 1}`, `not JSON: expected ":" (byte 5)`},
		"no colon deeper down":              {`[{"a"}]`, `not JSON: expected ":" (byte 5)`},
		"no value":                          {`{"a":}`, "not JSON: expected a value (byte 5)"},
		"no comma":                          {`{"a":1 "b":2}`, `not JSON: expected "," or "}" (byte 7)`},
		"no comma in an array":              {`[1 2]`, `not JSON: expected "," or the end of the object or array (byte 3)`},
		"wrong bracket":                     {`{"a":[1}`, `not JSON: expected "," or the end of the object or array (byte 7)`},
		"wrong bracket, empty":              {`{"a":[}`, `not JSON: expected a value (byte 6)`},
		"wrong bracket for an object":       {`[{"a":1]`, `not JSON: expected "," or the end of the object or array (byte 7)`},
		"comma at the end of an object":     {`{"a":1,}`, "not JSON: expected a member's key in double quotes (byte 7)"},
		"comma at the end of params":        {`{"params":{"a":1,}}`, "not JSON: expected a member's key in double quotes (byte 17)"},
		"comma at the end of an array":      {`[1,]`, "not JSON: expected a value (byte 3)"},
		"comma only":                        {`[,]`, "not JSON: expected a value (byte 1)"},
		"comment":                           {`{/**/}`, "not JSON: expected a member's key in double quotes (byte 1)"},
		"NaN":                               {head + `NaN}`, "not JSON: expected a value (byte 41)"},
		"literal in capitals":               {`[True]`, "not JSON: expected a value (byte 1)"},
		"misspelt literal":                  {`[nulL]`, "not JSON: expected true, false or null (byte 4)"},
		"long literal":                      {`[truex]`, `not JSON: expected "," or the end of the object or array (byte 5)`},
		"leading zero":                      {head + `01}`, `not JSON: expected "," or "}" (byte 42)`},
		"leading zero after minus":          {`[-01]`, `not JSON: expected "," or the end of the object or array (byte 3)`},
		"plus":                              {`[+1]`, "not JSON: expected a value (byte 1)"},
		"minus alone":                       {`[-]`, "not JSON: a number needs a digit here (byte 2)"},
		"no digit before the point":         {`[.5]`, "not JSON: expected a value (byte 1)"},
		"no digit behind the point":         {`[1.]`, "not JSON: a number needs a digit here (byte 3)"},
		"no digit in the exponent":          {`[1e]`, "not JSON: a number needs a digit here (byte 3)"},
		"no digit in the signed exponent":   {`[1e+]`, "not JSON: a number needs a digit here (byte 4)"},
		"hexadecimal":                       {`[0x1]`, `not JSON: expected "," or the end of the object or array (byte 2)`},
		"line feed in a string":             {"[\"a\nb\"]", "not JSON: a control character in a string must be escaped (byte 3)"},
		"NUL in a long string":              {"[\"0123456789\x00123456789\"]", "not JSON: a control character in a string must be escaped (byte 12)"},
		"control character in a key":        {"{\"a\x1f\":1}", "not JSON: a control character in a string must be escaped (byte 3)"},
		"invalid escape in a deeper key":    {`[{"\x":1}]`, "not JSON: invalid escape in a string (byte 4)"},
		"unknown escape":                    {`["\x41"]`, "not JSON: invalid escape in a string (byte 3)"},
		"escape of a letter beyond ASCII":   {`["\é"]`, "not JSON: invalid escape in a string (byte 3)"},
		"unicode escape with a wrong digit": {`["\u00g0"]`, "not JSON: invalid escape in a string (byte 6)"},
		"unicode escape cut off by a quote": {`["\u12"]`, "not JSON: invalid escape in a string (byte 6)"},
		"invalid UTF-8":                     {"{\"a\":\"\xff\"}", "not JSON: invalid UTF-8 (byte 6)"},
		"invalid UTF-8 in a long string":    {"[\"0123456789 é \xc3(0123456789\"]", "not JSON: invalid UTF-8 (byte 16)"},
		"invalid UTF-8 in a key":            {"{\"n\xc0\xaf\":1}", "not JSON: invalid UTF-8 (byte 3)"},
		"invalid UTF-8 behind a backslash":  {"[\"\\\xff\"]", "not JSON: invalid UTF-8 (byte 3)"},
		"a surrogate as UTF-8":              {"[\"\xed\xa0\x80\"]", "not JSON: invalid UTF-8 (byte 2)"},
		"UTF-8 cut off":                     {"[\"\xe2\x82\"]", "not JSON: invalid UTF-8 (byte 2)"},
		"invalid UTF-8 outside of strings":  {"{\"a\":\xff}", "not JSON: expected a value (byte 5)"},
		"a fault behind an invalid message": {`{"jsonrpc":1,"id":null,"method":2,"id":3,]`, "not JSON: expected a member's key in double quotes (byte 41)"},
		"a fault in a batch":                {`[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":]`, "not JSON: expected a value (byte 50)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(test.body), Limits{})
			require.Equal(t, &Error{Code: CodeParseError, Status: 400, Message: test.fault}, err)
		})
	}
}

func TestParseRefusesInvalidRequests(t *testing.T) {
	const batch = "JSON-RPC batches are not supported: send each message as an HTTP POST of its own"
	const missing = `"jsonrpc" is missing: it must be the string "2.0"`
	const version = `"jsonrpc" must be the string "2.0"`
	const badID = `"id" must be a string or an integer`
	like := func(key string, at int, where, known string) string {
		return fmt.Sprintf("%q at byte %d in %s differs from %q in case alone, and a reader that ignores case would take it for that", key, at, where, known)
	}
	for name, test := range map[string]struct{ body, fault, id string }{
		"batch":           {`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, batch, ``},
		"empty batch":     {` []`, batch, ``},
		"string":          {`"ping"`, "a message must be a JSON object", ``},
		"number":          {`1`, "a message must be a JSON object", ``},
		"null":            {`null`, "a message must be a JSON object", ``},
		"empty object":    {`{}`, missing, ``},
		"no jsonrpc":      {`{"id":1,"method":"a"}`, missing, `1`},
		"jsonrpc 1.0":     {`{"jsonrpc":"1.0","id":1,"method":"a"}`, version, `1`},
		"jsonrpc number":  {`{"jsonrpc":2.0,"id":1,"method":"a"}`, version, `1`},
		"jsonrpc null":    {`{"jsonrpc":null,"id":1,"method":"a"}`, version, `1`},
		"jsonrpc longer":  {`{"jsonrpc":"2.0 ","id":1,"method":"a"}`, version, `1`},
		"id null":         {`{"jsonrpc":"2.0","id":null,"method":"a"}`, badID + ", not null", ``},
		"id true":         {`{"jsonrpc":"2.0","id":true,"method":"a"}`, badID, ``},
		"id false":        {`{"jsonrpc":"2.0","id":false,"method":"a"}`, badID, ``},
		"id object":       {`{"jsonrpc":"2.0","id":{"a":1},"method":"a"}`, badID, ``},
		"id array":        {`{"jsonrpc":"2.0","id":[1],"method":"a"}`, badID, ``},
		"id fraction":     {`{"jsonrpc":"2.0","id":1.5,"method":"a"}`, badID, ``},
		"id 1.0":          {`{"jsonrpc":"2.0","id":1.0,"method":"a"}`, badID, ``},
		"id exponent":     {`{"jsonrpc":"2.0","id":1e2,"method":"a"}`, badID, ``},
		"id exponent E":   {`{"jsonrpc":"2.0","id":1E2,"method":"a"}`, badID, ``},
		"id surrogate":    {`{"jsonrpc":"2.0","id":"\udc00","method":"a"}`, `"id": escape "\\udc00" is half a surrogate pair`, ``},
		"id twice":        {`{"jsonrpc":"2.0","id":1,"method":"a","id":1}`, `"id" at byte 37 is in the message twice`, ``},
		"id thrice":       {`{"jsonrpc":"2.0","id":1,"method":"a","id":1,"id":2}`, `"id" at byte 37 is in the message twice`, ``},
		"id twice, null":  {`{"jsonrpc":"2.0","id":null,"method":"a","id":1}`, `"id" at byte 40 is in the message twice`, ``},
		"id, escaped":     {`{"jsonrpc":"2.0","id":1,"method":"a","\u0069d":2}`, `"id" at byte 37 is in the message twice`, ``},
		"ID beside id":    {`{"jsonrpc":"2.0","id":1,"method":"a","ID":2}`, like("ID", 37, "the message", "id"), ``},
		"Id alone":        {`{"jsonrpc":"2.0","Id":1,"method":"a"}`, like("Id", 17, "the message", "id"), ``},
		"method number":   {`{"jsonrpc":"2.0","id":1,"method":5}`, `"method" must be a string`, `1`},
		"method null":     {`{"jsonrpc":"2.0","id":1,"method":null}`, `"method" must be a string`, `1`},
		"method half":     {`{"jsonrpc":"2.0","id":1,"method":"\ud800a"}`, `"method": escape "\\ud800" is half a surrogate pair`, `1`},
		"method twice":    {`{"jsonrpc":"2.0","method":"a","method":"b","id":1}`, `"method" at byte 30 is in the message twice`, `1`},
		"method escaped":  {`{"jsonrpc":"2.0","method":"a","id":1,"\u006d\u0065thod":"a"}`, `"method" at byte 37 is in the message twice`, `1`},
		"params array":    {`{"jsonrpc":"2.0","id":1,"method":"a","params":[]}`, `"params" must be an object or left out`, `1`},
		"params null":     {`{"jsonrpc":"2.0","id":1,"method":"a","params":null}`, `"params" must be an object or left out`, `1`},
		"params string":   {`{"jsonrpc":"2.0","id":1,"method":"a","params":"{}"}`, `"params" must be an object or left out`, `1`},
		"params twice":    {`{"jsonrpc":"2.0","method":"a","params":{"name":1},"params":{"name":2},"id":1}`, `"params" at byte 50 is in the message twice`, `1`},
		"Params":          {`{"jsonrpc":"2.0","id":1,"method":"a","Params":{}}`, like("Params", 37, "the message", "params"), `1`},
		"paramſ":          {`{"jsonrpc":"2.0","id":1,"method":"a","paramſ":{}}`, like("paramſ", 37, "the message", "params"), `1`},
		"JSONRPC":         {`{"JSONRPC":"2.0","id":1,"method":"a"}`, like("JSONRPC", 1, "the message", "jsonrpc"), `1`},
		"reſult":          {`{"jsonrpc":"2.0","id":1,"method":"a","re\u017fult":{}}`, like("reſult", 37, "the message", "result"), `1`},
		"Error":           {`{"jsonrpc":"2.0","id":1,"method":"a","Error":{}}`, like("Error", 37, "the message", "error"), `1`},
		"Method":          {`{"jsonrpc":"2.0","id":1,"Method":"a"}`, like("Method", 24, "the message", "method"), `1`},
		"other key twice": {`{"jsonrpc":"2.0","x":1,"method":"a","x":1,"id":1}`, `"x" at byte 36 is in the message twice`, `1`},
		"key half":        {`{"jsonrpc":"2.0","\udbff":1,"method":"a","id":1}`, `key at byte 17: escape "\\udbff" is half a surrogate pair`, `1`},

		"name twice":            {`{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"a","name":"b"}}`, `"name" at byte 58 is in params twice`, `1`},
		"name twice, escaped":   {`{"jsonrpc":"2.0","method":"a","params":{"name":"a","n\u0061me":"b"},"id":1}`, `"name" at byte 51 is in params twice`, `1`},
		"escaped name, twice":   {`{"jsonrpc":"2.0","method":"a","params":{"n\u0061me":"a","name":"b"},"id":1}`, `"name" at byte 56 is in params twice`, `1`},
		"other twice in params": {`{"jsonrpc":"2.0","method":"a","params":{"zz":1,"y":2,"zz":3},"id":"q"}`, `"zz" at byte 53 is in params twice`, `"q"`},
		"key half in params":    {`{"jsonrpc":"2.0","method":"a","params":{"a\ud800\u0041":1},"id":1}`, `key at byte 40: escape "\\ud800" is half a surrogate pair`, `1`},
		"Name":                  {`{"jsonrpc":"2.0","id":1,"method":"a","params":{"Name":"a"}}`, like("Name", 47, "params", "name"), `1`},
		"NAME beside name":      {`{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"a","NAME":"b"}}`, like("NAME", 58, "params", "name"), `1`},
		"escaped Name":          {`{"jsonrpc":"2.0","id":1,"method":"a","params":{"\u004eame":"a"}}`, like("Name", 47, "params", "name"), `1`},
		"URI":                   {`{"jsonrpc":"2.0","id":1,"method":"a","params":{"URI":"a"}}`, like("URI", 47, "params", "uri"), `1`},
		"argumentſ":             {`{"jsonrpc":"2.0","id":1,"method":"a","params":{"argumentſ":{}}}`, like("argumentſ", 47, "params", "arguments"), `1`},
		"Kelvin":                {`{"jsonrpc":"2.0","id":1,"method":"a","params":{"progressTo` + "\u212a" + `en":1}}`, like("progressTo\u212aen", 47, "params", "progressToken"), `1`},
		"escaped Kelvin":        {`{"jsonrpc":"2.0","id":1,"method":"a","params":{"progressTo\u212aen":1}}`, like("progressTo\u212aen", 47, "params", "progressToken"), `1`},
		"_META":                 {`{"jsonrpc":"2.0","id":1,"method":"a","params":{"_META":{}}}`, like("_META", 47, "params", "_meta"), `1`},
		"requestid":             {`{"jsonrpc":"2.0","method":"a","params":{"requestid":1}}`, like("requestid", 40, "params", "requestId"), ``},

		"neither":           {`{"jsonrpc":"2.0","id":1}`, `none of "method", "result" and "error" is there`, `1`},
		"method and result": {`{"jsonrpc":"2.0","id":1,"method":"a","result":{}}`, `"method" together with "result" or "error": a message is a request or a response`, `1`},
		"method and error":  {`{"jsonrpc":"2.0","method":"a","error":{}}`, `"method" together with "result" or "error": a message is a request or a response`, ``},
		"result and error":  {`{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`, `"result" together with "error": a response has one of them`, `1`},
		"error null":        {`{"jsonrpc":"2.0","id":1,"error":null}`, `"error" must be an object`, `1`},
		"result and params": {`{"jsonrpc":"2.0","id":1,"result":{},"params":{}}`, `"params" in a response`, `1`},
		"result without id": {`{"jsonrpc":"2.0","result":{}}`, `"id" is missing in a response`, ``},
		"result, id null":   {`{"jsonrpc":"2.0","id":null,"result":{}}`, badID + ", not null", ``},
		"long key":          {`{"jsonrpc":"2.0","id":1,"` + strings.Repeat("x", 100) + `":1,"` + strings.Repeat("x", 100) + `":1}`, `"` + strings.Repeat("x", 64) + `…" at byte 129 is in the message twice`, `1`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(test.body), Limits{})
			want := &Error{Code: CodeInvalidRequest, Status: 400, Message: "invalid request: " + test.fault}
			if test.id != "" {
				want.ID = []byte(test.id)
			}
			require.Equal(t, want, err)
		})
	}
}

// Invariant 7: the error has the request's own id even if the body is used for something else by then.
func TestErrorKeepsItsID(t *testing.T) {
	body := []byte(`{"jsonrpc":"2.0","id":"mine","method":7}`)
	_, err := Parse(body, Limits{})
	clear(body)
	require.Equal(t, `"mine"`, string(err.ID))
}

func nested(open, end string, depth int) string {
	return `{"jsonrpc":"2.0","method":"a","params":{"arguments":` + strings.Repeat(open, depth-2) + "1" + strings.Repeat(end, depth-2) + `},"id":7}`
}

func TestParseDepth(t *testing.T) {
	for _, brackets := range [][2]string{{"[", "]"}, {`{"a":`, "}"}, {`{"b":[`, "]}"}} {
		per := strings.Count(brackets[0], "[") + strings.Count(brackets[0], "{")
		for _, limit := range []int{3, 64, 65, 66, 67, 128, 129, 130, 512, 10_000} {
			if (limit-2)%per != 0 {
				continue
			}
			levels := (limit-2)/per + 2
			_, err := Parse([]byte(nested(brackets[0], brackets[1], levels)), Limits{MaxDepth: limit})
			require.Nil(t, err, "%q to depth %d", brackets, limit)

			_, err = Parse([]byte(nested(brackets[0], brackets[1], levels+1)), Limits{MaxDepth: limit})
			require.NotNil(t, err)
			require.Equal(t, CodeInvalidRequest, err.Code)
			require.Regexp(t, fmt.Sprintf(`^invalid request: nested deeper than %d levels \(byte \d+\)$`, limit), err.Message)
			require.Equal(t, "7", string(err.ID), "Invariant 7: the id behind it is read")
		}
	}
	_, err := Parse([]byte(nested("[", "]", DefaultMaxDepth)), Limits{})
	require.Nil(t, err)
	_, err = Parse([]byte(nested("[", "]", DefaultMaxDepth+1)), Limits{})
	require.NotNil(t, err)
	_, err = Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"a","params":{}}`), Limits{MaxDepth: 1})
	require.NotNil(t, err, "params is the second level")
}

// Wrong brackets are found below the 64 levels that one word holds, too.
func TestParseBracketsFarDown(t *testing.T) {
	for _, depth := range []int{1, 2, 31, 32, 33, 63, 64, 65, 96, 130} {
		open := strings.Repeat(`[{"a":`, depth)
		good := []byte(`{"jsonrpc":"2.0","method":"a","x":` + open + "0" + strings.Repeat("}]", depth) + "}")
		_, err := Parse(good, Limits{})
		require.Nil(t, err, "depth %d", depth)
		for i := len(good) - 2; i > len(good)-2-2*depth; i-- {
			bad := append([]byte(nil), good...)
			bad[i] ^= ']' ^ '}'
			_, err := Parse(bad, Limits{})
			require.NotNil(t, err)
			require.Equal(t, CodeParseError, err.Code, "%s", bad)
		}
	}
}

func TestParseHostileBodiesAreQuick(t *testing.T) {
	const size = 4 << 20
	many := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return `{"jsonrpc":"2.0","id":1,"method":"a","params":{` + strings.TrimSuffix(b.String(), ",") + `}}`
	}
	for name, test := range map[string]struct {
		body  string
		code  int
		fault string
	}{
		"open brackets":       {strings.Repeat("[", size), CodeParseError, "ends too early"},
		"open objects":        {strings.Repeat(`{"a":`, size/5), CodeParseError, "ends too early"},
		"in params":           {`{"params":` + strings.Repeat("[", size), CodeParseError, "ends too early"},
		"nested 10 000 deep":  {nested("[", "]", 10_000), CodeInvalidRequest, "nested deeper than 512 levels"},
		"nested 2 million":    {nested("[", "]", size/2), CodeInvalidRequest, "nested deeper than 512 levels"},
		"many params":         {many(`"%d":0,`), CodeInvalidRequest, "params has more than 1024 members"},
		"many escaped params": {many(`"\u0061%d":0,`), CodeInvalidRequest, "params has more than 1024 members"},
		"one string":          {`"` + strings.Repeat("a", size), CodeParseError, "ends too early"},
		"escapes":             {`"` + strings.Repeat(`\n`, size/2), CodeParseError, "ends too early"},
		"beyond ASCII":        {`["` + strings.Repeat("é", size/2) + "\xff\"]", CodeParseError, "invalid UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(test.body)
			start := time.Now()
			_, err := Parse(body, Limits{})
			require.Less(t, time.Since(start), 2*time.Second) // it is milliseconds, but for busy machines
			require.NotNil(t, err)
			require.Equal(t, test.code, err.Code)
			require.Contains(t, err.Message, test.fault)
			require.Less(t, len(err.Message), 200)
		})
	}
}

func TestParseManyMembers(t *testing.T) {
	build := func(keys []string) []byte {
		return []byte(`{"jsonrpc":"2.0","id":1,"method":"a","params":{` + strings.Join(keys, ",") + `}}`)
	}
	var keys []string
	for i := range maxMembers {
		keys = append(keys, fmt.Sprintf(`"\u006b%d":%d`, i, i))
	}
	m, err := Parse(build(keys), Limits{})
	require.Nil(t, err)
	for i := range maxMembers {
		require.Equal(t, fmt.Sprint(i), string(m.Param(fmt.Sprintf("k%d", i)).Of(m.Body)))
	}
	_, err = Parse(build(append(keys, `"one more":1`)), Limits{})
	require.NotNil(t, err)
	require.Equal(t, "invalid request: params has more than 1024 members", err.Message)
	require.Equal(t, "1", string(err.ID))

	// A duplicate is found wherever the two are, and in whichever way they are written.
	for _, n := range []int{2, 8, 9, 15, 16, 17, 18, 100} {
		for i := range n - 1 {
			for _, double := range []string{fmt.Sprintf(`"k%d":0`, i), fmt.Sprintf(`"k\u003%c%s":0`, fmt.Sprint(i)[0], fmt.Sprint(i)[1:])} {
				_, err := Parse(build(append(keys[:n-1:n-1], double)), Limits{})
				require.NotNil(t, err, "%d of %d", i, n)
				require.Contains(t, err.Message, fmt.Sprintf(`"k%d" at byte`, i))
				require.Contains(t, err.Message, "is in params twice")
			}
		}
	}
}

// An id behind so many members that nobody remembers them all could be there twice.
func TestParseIDBehindTooManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"jsonrpc":"2.0","method":"a"`)
	for i := range maxMembers {
		fmt.Fprintf(&b, `,"k%d":0`, i)
	}
	_, err := Parse([]byte(b.String()+`,"id":1}`), Limits{})
	require.NotNil(t, err)
	require.Equal(t, "invalid request: the message has more than 1024 members", err.Message)
	require.Nil(t, err.ID)
}

func TestParseAllocatesNothing(t *testing.T) {
	body := toolsCall(t)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		m, err := Parse(body, Limits{})
		if err != nil || m.MethodName() != "tools/call" || !m.Param("name").Present() {
			t.Error(err)
		}
		if token, err := m.Lookup("_meta", "progressToken"); err != nil || !token.Present() {
			t.Error(err)
		}
	}))
}
