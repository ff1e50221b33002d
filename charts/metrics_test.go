package charts

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// metric is one of the reference, which its own tests hold to what is served.
type metric struct {
	histogram bool
	labels    []string
}

func referenceMetrics(t *testing.T) map[string]metric {
	t.Helper()
	document, err := os.ReadFile("../docs/reference/metrics.md")
	require.NoError(t, err)
	out := map[string]metric{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(mcp_\\w+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(string(document), -1) {
		out[row[1]] = metric{row[2] == "histogram", strings.Split(strings.NewReplacer("`", "", " ", "").Replace(row[3]), ",")}
	}
	require.Greater(t, len(out), 20)
	return out
}

// expressions are all that dashboard and alerts ask Prometheus for.
func expressions(t *testing.T) []string {
	t.Helper()
	var dashboard struct {
		Panels     []struct{ Targets []struct{ Expr string } }
		Templating struct{ List []struct{ Query string } }
	}
	require.NoError(t, json.Unmarshal(read(t, "mcp-gateway/charts/observability/files/dashboard.json"), &dashboard))
	var out []string
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			out = append(out, target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		out = append(out, v.Query)
	}
	alerts := regexp.MustCompile(`"expr" \(printf ("(?:[^"\\]|\\.)*")`).FindAllStringSubmatch(string(read(t, "mcp-gateway/charts/observability/templates/prometheusrule.yaml")), -1)
	require.NotEmpty(t, alerts)
	for _, a := range alerts {
		var expr string
		require.NoError(t, json.Unmarshal([]byte(a[1]), &expr))
		out = append(out, expr)
	}
	return out
}

// TestMetricNames: dashboard and alerts ask for metrics that there are, by labels that these have.
func TestMetricNames(t *testing.T) {
	known := referenceMetrics(t)
	scraped := []string{"namespace", "pod", "le"} // what the scrape adds, and histograms have
	names, matchers := regexp.MustCompile(`\bmcp_[a-z0-9_]+`), regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping := regexp.MustCompile(`\bby \(([^)]*)\)`)
	for _, expr := range expressions(t) {
		found := names.FindAllString(expr, -1)
		for _, name := range found {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if m, ok := known[strings.TrimSuffix(name, suffix)]; ok && m.histogram {
					base = strings.TrimSuffix(name, suffix)
				}
			}
			m, ok := known[base]
			if !assert.True(t, ok, "there is no metric %q, as in %s", name, expr) {
				continue
			}
			if m.histogram {
				assert.NotEqual(t, base, name, "a histogram has no value of its own: %s", expr)
			}
			var asked []string
			for _, l := range matchers.FindAllStringSubmatch(expr, -1) {
				asked = append(asked, l[1])
			}
			for _, l := range grouping.FindAllStringSubmatch(expr, -1) {
				asked = append(asked, strings.Split(strings.ReplaceAll(l[1], " ", ""), ",")...)
			}
			for _, label := range asked {
				assert.True(t, slices.Contains(m.labels, label) || slices.Contains(scraped, label), "%q has no label %q, as in %s", name, label, expr)
			}
		}
	}
}
