package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestLoadNamesTheFlag(t *testing.T) {
	tests := map[string]struct{ path, want string }{
		"missing file": {"/etc/none.yaml", "/etc/none.yaml: the configuration file does not exist; --mcp-gateway-config names the file to read"},
		"no path":      {"", "no configuration file is named; name one with --mcp-gateway-config"},
		"unreadable": {
			"/etc/gateway/secrets/forbidden",
			"/etc/gateway/secrets/forbidden: the configuration file cannot be read: permission denied; --mcp-gateway-config names the file to read",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			config, err := Load(tt.path, world(t))
			assert.Nil(t, config)
			require.EqualError(t, err, tt.want)
			require.ErrorAs(t, err, new(Problems))
		})
	}
}

func TestLoadResolvesPathsAgainstTheFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "secrets"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secrets", "token"), []byte("real\n"), 0o600))
	file := filepath.Join(dir, "config.yaml")
	text := "servers: [{name: a, url: 'http://a', credential: {file: secrets/token}}]"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	config, err := Load(file, OS())
	require.NoError(t, err)
	assert.Equal(t, "Bearer real", config.Servers[0].Credential.HeaderValue().Reveal())
	assert.Equal(t, filepath.Join(dir, "secrets", "token"), config.Servers[0].Credential.File)
}

func TestProblemsCarryTheirPlaces(t *testing.T) {
	text := "servers:\n  - name: ok\n    url: ftp://x\n  - url: http://x\n    toolPrefix: ' '\n"
	_, err := Parse("c.yaml", []byte(text), world(t))
	var problems Problems
	require.ErrorAs(t, err, &problems)
	want := Problems{
		{File: "c.yaml", Line: 3, Column: 10, Field: "servers[0].url", Message: `the scheme "ftp" must be http or https`},
		{File: "c.yaml", Line: 4, Column: 5, Field: "servers[1].name", Message: "is required"},
		{File: "c.yaml", Line: 5, Column: 17, Field: "servers[1].toolPrefix", Message: `" " must be made of what tool names may have: letters, digits and _ - . /`},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	assert.Len(t, strings.Split(err.Error(), "\n"), 3, "one line for each problem")
}

func TestAliasesCannotUnfoldWithoutBound(t *testing.T) {
	many := strings.Repeat("x", 20)
	var headers, servers strings.Builder
	for i := range 500 {
		fmt.Fprintf(&headers, "X-%s-%d: v, ", many, i)
	}
	for i := range 500 {
		fmt.Fprintf(&servers, "  - {name: s%d, url: 'http://a', headers: *h}\n", i)
	}
	text := "servers:\n  - {name: first, url: 'http://a', headers: &h {" + headers.String() + "}}\n" + servers.String()
	_, err := Parse("c.yaml", []byte(text), world(t))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "the aliases of this file unfold to more than 10000 values")
	assert.NotContains(t, err.Error(), "\n", "nothing of a file that is not read to its end is judged")

	text = "servers: &a\n" + strings.Repeat("  - *a\n", 20_000)
	_, err = Parse("c.yaml", []byte(text), world(t))
	require.Error(t, err)
}

func TestNestedAliasBomb(t *testing.T) {
	var text strings.Builder
	text.WriteString("servers:\n  - name: a\n    url: http://a\n    tools:\n      t0: &a0 {timeout: 1s}\n")
	for i := range 30 {
		fmt.Fprintf(&text, "      t%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	_, err := Parse("c.yaml", []byte(text.String()), world(t))
	require.Error(t, err)
	assert.Contains(t, err.Error(), `servers[0].tools.t1: must be a mapping, not a list`)
}

func TestDeepNestingIsRefusedQuickly(t *testing.T) {
	for _, open := range []string{"[", "{a: "} {
		_, err := Parse("c.yaml", []byte("servers: "+strings.Repeat(open, 100_000)), world(t))
		require.Error(t, err)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	text := "servers: []\n"
	for i := range 5000 {
		text += fmt.Sprintf("zzzzz%d: 1\n", i)
	}
	_, err := Parse("c.yaml", []byte(text), world(t))
	var problems Problems
	require.ErrorAs(t, err, &problems)
	assert.Len(t, problems, 1001)
	assert.Equal(t, "c.yaml: 4000 more problems are not listed", problems[1000].Error())
}

// A controller writes a File; what it writes must be read as it was meant.
func TestFileIsWrittenAsItIsRead(t *testing.T) {
	enabled, prefix, timeout, none := false, "", Duration(90*time.Second), Duration(0)
	file := File{Servers: []ServerSpec{
		{
			Name: "ns/weather", URL: "https://weather:8443", Hostname: "w", Enabled: &enabled, ToolPrefix: "1_", URIPrefix: true, Path: "/v1",
			Headers:    map[string]string{"X-Number": "007", "X-Bool": "true"},
			Credential: &CredentialSpec{Header: "X-Token", Prefix: &prefix, Env: "WEATHER_TOKEN"},
			Timeout:    &timeout, TLS: &TLSSpec{CAFile: "ca.pem", ServerName: "w"},
			Tools: map[string]ToolSpec{"404": {Timeout: &none}},
		},
		{Name: "123", URL: "http://time"},
	}}
	data, err := yaml.Marshal(file)
	require.NoError(t, err)
	config, err := Parse("/etc/gateway/config.yaml", data, world(t))
	require.NoError(t, err, string(data))
	first := config.Servers[0]
	assert.False(t, first.Enabled)
	assert.Equal(t, []Header{{"x-bool", "true"}, {"x-number", "007"}}, first.Headers)
	assert.Equal(t, "https://weather:8443/v1", first.URL())
	assert.Equal(t, 90*time.Second, first.Timeout)
	assert.Equal(t, map[string]time.Duration{"404": 0}, first.ToolTimeouts)
	assert.Empty(t, first.Credential.Prefix)
	assert.Equal(t, "123", config.Servers[1].Name)
	assert.Equal(t, DefaultTimeout, config.Servers[1].Timeout)
}

func TestTimeoutOf(t *testing.T) {
	s := Server{Timeout: time.Minute, ToolTimeouts: map[string]time.Duration{"slow": time.Hour, "endless": 0}}
	assert.Equal(t, time.Hour, s.TimeoutOf("slow"))
	assert.Zero(t, s.TimeoutOf("endless"))
	assert.Equal(t, time.Minute, s.TimeoutOf("other"))
}

func TestEqual(t *testing.T) {
	base, err := os.ReadFile("testdata/full.in.yaml")
	require.NoError(t, err)
	parse := func(text string, env Env) *Config {
		t.Helper()
		config, err := Parse("/etc/gateway/config.yaml", []byte(text), env)
		require.NoError(t, err)
		return config
	}
	original := parse(string(base), world(t))
	assert.True(t, original.Equal(parse("# a remark\n"+string(base), world(t))), "a comment means nothing")
	assert.True(t, (&Config{}).Equal(&Config{}))
	assert.True(t, (*Config)(nil).Equal(nil))
	assert.False(t, original.Equal(nil))
	assert.False(t, (*Config)(nil).Equal(original))

	for from, to := range map[string]string{
		"team-a/": "team-b/", "8443": "8444", "Public": "Other", "enabled: true": "enabled: false", `"weather_"`: `"w_"`, "uriPrefix: true": "uriPrefix: false",
		"/v1/mcp": "/v2/mcp", "X-Env: prod": "X-Env: test", "X-Api-Key": "X-Other-Key", `"Key "`: `"Token "`, "WEATHER_TOKEN": "TIME_TOKEN",
		"30s": "31s", "10m": "11m", "Weather.Internal": "Other.Internal", "{caFile: ca.pem, ": "{", "secrets/time": "../shared/token",
	} {
		require.Contains(t, string(base), from)
		assert.False(t, original.Equal(parse(strings.Replace(string(base), from, to, 1), world(t))), "%q to %q", from, to)
	}

	rotated := world(t)
	rotated.write("/etc/gateway/secrets/time", "another-token\n")
	assert.False(t, original.Equal(parse(string(base), rotated)), "a credential's new value")

	two := "servers: [{name: a, url: 'http://a'}, {name: b, url: 'http://b'}]"
	swapped := "servers: [{name: b, url: 'http://b'}, {name: a, url: 'http://a'}]"
	assert.False(t, parse(two, world(t)).Equal(parse(swapped, world(t))), "the order decides who keeps a name")
}

func TestSampleFileParses(t *testing.T) {
	const path = "../../config/mcp-system/config.yaml"
	config, err := Load(path, OS())
	require.NoError(t, err)
	require.Len(t, config.Servers, 2)
	weather, clock := config.Servers[0], config.Servers[1]
	assert.Equal(t, []string{"weather", "http://127.0.0.1:9101/mcp", "weather_"}, []string{weather.Name, weather.URL(), weather.ToolPrefix})
	assert.Equal(t, []string{"time", "http://127.0.0.1:9102/mcp", "time_"}, []string{clock.Name, clock.URL(), clock.ToolPrefix})
	assert.True(t, weather.Enabled && clock.Enabled)
}

func FuzzParse(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	require.NoError(f, err)
	for _, input := range inputs {
		data, err := os.ReadFile(input)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("servers: &a [*a]"))
	f.Add([]byte("? {[: }\n: *"))
	f.Add([]byte("a: !!binary x\nb: !<tag:yaml.org,2002:str> y\n"))
	f.Add([]byte("\ufeffservers: []\r\n...\r\n"))
	env := world(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := Parse("c.yaml", data, env)
		again, errAgain := Parse("c.yaml", data, env)
		if err != nil {
			require.Nil(t, config)
			require.EqualError(t, errAgain, err.Error())
			assertPlaced(t, data, err)
			return
		}
		require.NoError(t, errAgain)
		require.True(t, config.Equal(again))
		names := map[string]bool{}
		for _, s := range config.Servers {
			require.False(t, names[s.Name], "a name twice")
			names[s.Name] = true
			require.NotEmpty(t, s.Name)
			require.NotEmpty(t, s.Host)
			require.NotEmpty(t, s.Hostname)
			require.NotZero(t, s.Port)
			require.True(t, strings.HasPrefix(s.Path, "/"))
			require.GreaterOrEqual(t, s.Timeout, time.Duration(0))
			require.Equal(t, s.Scheme == "https", s.TLS != nil)
		}
	})
}

// assertPlaced demands of every problem a file and a place inside of it.
func assertPlaced(t *testing.T, data []byte, err error) {
	t.Helper()
	var problems Problems
	require.ErrorAs(t, err, &problems)
	require.NotEmpty(t, problems)
	lines := strings.Count(strings.ReplaceAll(string(data), "\r", "\n"), "\n") + strings.Count(string(data), "\u0085") +
		strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + 2
	for _, p := range problems {
		require.Equal(t, "c.yaml", p.File)
		require.NotEmpty(t, p.Message)
		if strings.HasSuffix(p.Message, "more problems are not listed") {
			continue
		}
		require.Positive(t, p.Line, p.Error())
		require.Positive(t, p.Column, p.Error())
		require.LessOrEqual(t, p.Line, lines, p.Error())
	}
	require.True(t, slices.IsSortedFunc(problems, func(a, b Problem) int {
		if b.Line == 0 {
			return 0
		}
		return slices.Compare([]int{a.Line, a.Column}, []int{b.Line, b.Column})
	}))
}
