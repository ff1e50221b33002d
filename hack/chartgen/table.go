package chartgen

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Table is Markdown with a row for every value, in their order, and a heading for every key at the top.
func Table(values []*Value, heading string) string {
	var out strings.Builder
	for _, v := range values {
		fmt.Fprintf(&out, "\n%s %s\n\n%s\n\n| Value | Default | Meaning |\n|---|---|---|\n", heading, v.Name, v.Description)
		rows(&out, v.Name, v.Children)
	}
	return out.String()
}

func rows(out *strings.Builder, path string, values []*Value) {
	for _, v := range values {
		name := path + "." + v.Name
		if v.Children != nil {
			rows(out, name, v.Children)
			continue
		}
		standard := "`" + cell(v.Default) + "`"
		if v.Optional {
			standard = "–"
		}
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", name, standard, cell(v.Description))
	}
}

// cell is a value in a table's cell.
func cell(value any) string {
	text, ok := value.(string)
	if !ok || text == "" {
		data, _ := json.Marshal(value)
		text = string(data)
	}
	return strings.ReplaceAll(text, "|", `\|`)
}
