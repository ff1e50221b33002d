package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const reference = "../../docs/reference/configuration.md"

func TestReferenceDescribesExactlyTheKeys(t *testing.T) {
	text, err := os.ReadFile(reference)
	require.NoError(t, err)
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:servers|virtualServers)[^`]*)` \\| (.*) \\|$").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, row[1])
		cells := strings.Split(row[2], " | ")
		assert.Len(t, cells, 3, "%s: type, default and meaning", row[1])
		for _, cell := range cells {
			assert.NotEmpty(t, strings.TrimSpace(cell), row[1])
		}
	}
	assert.ElementsMatch(t, keyPaths(reflect.TypeFor[File](), ""), documented)
}

// keyPaths lists every key that a file can have.
func keyPaths(of reflect.Type, prefix string) []string {
	switch of.Kind() {
	case reflect.Pointer:
		return keyPaths(of.Elem(), prefix)
	case reflect.Slice:
		return keyPaths(of.Elem(), prefix+"[]")
	case reflect.Map:
		return keyPaths(of.Elem(), prefix+".<tool>")
	case reflect.Struct:
	default:
		return nil
	}
	var paths []string
	for i, key := range yamlKeys(of) {
		path := strings.TrimPrefix(prefix+"."+key, ".")
		nested := keyPaths(of.Field(i).Type, path)
		paths = append(append(paths, path), nested...)
	}
	return paths
}

func TestExamplesOfTheReferenceParse(t *testing.T) {
	text, err := os.ReadFile(reference)
	require.NoError(t, err)
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, examples)
	for _, example := range examples {
		_, err := Parse(reference, []byte(example[1]), newMemory(nil))
		assert.NoError(t, err, example[1])
	}
}

// The commented server of the sample file must be as good as those in force.
func TestSampleFileParsesUncommented(t *testing.T) {
	text, err := os.ReadFile("../../config/mcp-system/config.yaml")
	require.NoError(t, err)
	_, hidden, found := strings.Cut(string(text), "  #\n")
	require.True(t, found)
	full := "servers:\n" + regexp.MustCompile("(?m)^  # ").ReplaceAllString(hidden, "  ")
	env := world(t)
	env.vars["REPORTS_TOKEN"] = "token"
	env.write("/etc/gateway/reports-ca.pem", env.files["/etc/gateway/ca.pem"])
	config, err := Parse("/etc/gateway/config.yaml", []byte(full), env)
	require.NoError(t, err, full)
	require.Len(t, config.Servers, 1)
	assert.Equal(t, "reports.example.com", config.Servers[0].Hostname)
}

// What the reference says about defaults and limits is what the code does.
func TestReferenceTellsTheLimits(t *testing.T) {
	text, err := os.ReadFile(reference)
	require.NoError(t, err)
	row := func(key string) string {
		found := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(key) + "` .*$").FindString(string(text))
		require.NotEmpty(t, found, key)
		return found
	}
	assert.Contains(t, row("servers[].timeout"), fmt.Sprintf("`%ds`", DefaultTimeout/time.Second))
	assert.Contains(t, row("servers[].path"), "`"+DefaultPath+"`")
	assert.Contains(t, string(text), fmt.Sprintf("still for %d ms", defaultDebounce/time.Millisecond))
	assert.Contains(t, string(text), fmt.Sprintf("still for %d ms", drasticFactor*defaultDebounce/time.Millisecond))
	assert.Contains(t, row("servers[].toolPrefix"), fmt.Sprintf("at most %d", maxToolPrefix))
	assert.Contains(t, row("servers[].path"), fmt.Sprintf("at most %d", maxPath))
	assert.Contains(t, row("virtualServers[].tools"), fmt.Sprintf("At most %d", maxPatterns))
	assert.Contains(t, row("virtualServers[].servers"), fmt.Sprintf("At most %d", maxChosenServers))
	assert.Contains(t, row("virtualServers[].description"), fmt.Sprintf("At most %d", maxDescription))
	assert.Contains(t, string(text), fmt.Sprintf("at most %d bytes", maxPattern))
	assert.Contains(t, row("servers[].credential.prefix"), fmt.Sprintf("At most %d", maxCredentialPrefix))
	assert.Contains(t, string(text), fmt.Sprintf("1 byte to %d KiB, is UTF-8", maxCredential>>10))
	assert.Contains(t, string(text), fmt.Sprintf("1 byte to %d KiB, no control", maxHeaderValue>>10))
	assert.Contains(t, string(text), fmt.Sprintf("at most %d MiB, and holds one", maxFileSize>>20))
	assert.Contains(t, strings.ReplaceAll(string(text), " ", ""), fmt.Sprintf("%dvaluesreachedthroughaliases", maxAliasedNodes))
	assert.Contains(t, string(text), fmt.Sprintf("Only the first %d are", maxProblems))
}
