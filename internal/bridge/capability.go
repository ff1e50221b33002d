package bridge

import "encoding/json"

// The requests by which servers ask for input.
const (
	MethodElicit = "elicitation/create"
	MethodSample = "sampling/createMessage"
	MethodRoots  = "roots/list"
)

type capabilities struct {
	Elicitation *struct {
		Form *struct{} `json:"form"`
		URL  *struct{} `json:"url"`
	} `json:"elicitation"`
	Sampling *struct {
		Tools *struct{} `json:"tools"`
	} `json:"sampling"`
	Roots *struct{} `json:"roots"`
}

// Lack is what a client did not declare and a request for input needs.
type Lack struct {
	// Method tells that the whole method is not there for the client, and not only one mode of it.
	Method bool
	// Required is the capabilities object that would do.
	Required json.RawMessage
	// Name is the capability in words.
	Name string
}

// Lacks tells what a client lacks for a request for input; nil if it can be asked.
func (c Client) Lacks(method string, params json.RawMessage) *Lack {
	var has capabilities
	if c.Capabilities != nil && json.Unmarshal(c.Capabilities, &has) != nil {
		has = capabilities{} // what cannot be read declares nothing
	}
	switch method {
	case MethodElicit:
		return has.lackElicitation(params)
	case MethodSample:
		return has.lackSampling(params)
	case MethodRoots:
		if has.Roots == nil {
			return &Lack{true, json.RawMessage(`{"roots":{}}`), "roots"}
		}
		return nil
	}
	return &Lack{Method: true, Required: json.RawMessage(`{}`), Name: method}
}

func (c *capabilities) lackElicitation(params json.RawMessage) *Lack {
	var asked struct {
		Mode string `json:"mode"`
	}
	if params != nil && json.Unmarshal(params, &asked) != nil {
		asked.Mode = "form" // a client finds what is wrong with it
	}
	e := c.Elicitation
	switch {
	case asked.Mode == "url" && (e == nil || e.URL == nil):
		return &Lack{e == nil, json.RawMessage(`{"elicitation":{"url":{}}}`), "elicitation.url"}
	case asked.Mode != "url" && e == nil:
		return &Lack{true, json.RawMessage(`{"elicitation":{"form":{}}}`), "elicitation"}
	case asked.Mode != "url" && e.Form == nil && e.URL != nil: // one that declares neither can do forms
		return &Lack{false, json.RawMessage(`{"elicitation":{"form":{}}}`), "elicitation.form"}
	}
	return nil
}

func (c *capabilities) lackSampling(params json.RawMessage) *Lack {
	var asked struct {
		Tools      json.RawMessage `json:"tools"`
		ToolChoice json.RawMessage `json:"toolChoice"`
	}
	if params != nil && json.Unmarshal(params, &asked) != nil {
		asked.Tools = nil // as above
	}
	switch {
	case c.Sampling == nil:
		return &Lack{true, json.RawMessage(`{"sampling":{}}`), "sampling"}
	case (asked.Tools != nil || asked.ToolChoice != nil) && c.Sampling.Tools == nil:
		return &Lack{false, json.RawMessage(`{"sampling":{"tools":{}}}`), "sampling.tools"}
	}
	return nil
}
