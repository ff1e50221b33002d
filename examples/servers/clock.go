package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // so that zones are known on a machine without a zone database

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

const (
	zonesURI   = "time://zones"
	zonePrefix = zonesURI + "/"
)

type moment struct {
	Time     string `json:"time" jsonschema:"the moment, as RFC 3339 writes it"`
	Weekday  string `json:"weekday" jsonschema:"the day of the week"`
	Timezone string `json:"timezone" jsonschema:"the zone that the moment is told in"`
}

type clock struct{ now func() time.Time }

// newClock makes a server that tells the time that now gives.
func newClock(now func() time.Time) *server.MCPServer {
	c := clock{now: now}
	s := server.NewMCPServer("time", version,
		server.WithTitle("Example clock"),
		server.WithInstructions("Tells and adds times. The resource "+zonesURI+" lists some time zones."),
		server.WithToolCapabilities(true),
		server.WithResourceCapabilities(false, true),
		server.WithPromptCapabilities(true),
		server.WithInputSchemaValidation(),
	)
	s.AddTool(mcp.NewTool("get_time",
		mcp.WithDescription("Tells what time it is in a time zone."),
		mcp.WithTitleAnnotation("Current time"),
		mcp.WithReadOnlyHintAnnotation(true),
		mcp.WithDestructiveHintAnnotation(false),
		mcp.WithOpenWorldHintAnnotation(false),
		mcp.WithString("timezone", mcp.DefaultString("UTC"), mcp.Description(`an IANA name, such as "Europe/Paris"`)),
		mcp.WithOutputSchema[moment](),
	), mcp.NewStructuredToolHandler(c.getTime))
	s.AddTool(mcp.NewTool("add_duration",
		mcp.WithDescription("Adds a duration to a moment."),
		mcp.WithTitleAnnotation("Add a duration"),
		mcp.WithReadOnlyHintAnnotation(true),
		mcp.WithDestructiveHintAnnotation(false),
		mcp.WithIdempotentHintAnnotation(true),
		mcp.WithOpenWorldHintAnnotation(false),
		mcp.WithString("time", mcp.Required(), mcp.Description(`a moment in RFC 3339, such as "2026-01-31T22:30:00Z"`)),
		mcp.WithString("duration", mcp.Required(), mcp.Description(`such as "36h" or "-1h30m"`)),
		mcp.WithOutputSchema[moment](),
	), mcp.NewStructuredToolHandler(addDuration))
	s.AddResource(mcp.NewResource(zonesURI, "zones",
		mcp.WithResourceDescription("The names of some time zones."), mcp.WithMIMEType("application/json")), readZones)
	s.AddResourceTemplate(mcp.NewResourceTemplate(zonePrefix+"{region}/{city}", "zone",
		mcp.WithTemplateDescription("What time it is in one zone."), mcp.WithTemplateMIMEType("application/json")), c.readZone)
	s.AddPrompt(mcp.NewPrompt("plan_meeting",
		mcp.WithPromptDescription("Finds an hour that suits two places."),
		mcp.WithArgument("here", mcp.RequiredArgument(), mcp.ArgumentDescription("the first place's time zone")),
		mcp.WithArgument("there", mcp.RequiredArgument(), mcp.ArgumentDescription("the second place's time zone")),
	), planMeeting)
	return s
}

func (c clock) getTime(_ context.Context, _ mcp.CallToolRequest, args struct {
	Timezone string `json:"timezone"`
},
) (moment, error) {
	return c.in(args.Timezone)
}

func (c clock) in(zone string) (moment, error) {
	// Go takes "Local" for the machine's own zone, which is nobody's business.
	if zone == "Local" {
		return moment{}, errors.New(`unknown time zone "Local"`)
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return moment{}, fmt.Errorf("cannot tell the time in %q: %w", zone, err)
	}
	return momentOf(c.now().In(location)), nil
}

func addDuration(_ context.Context, _ mcp.CallToolRequest, args struct {
	Time     string `json:"time"`
	Duration string `json:"duration"`
},
) (moment, error) {
	start, err := time.ParseInLocation(time.RFC3339, args.Time, time.UTC)
	if err != nil {
		return moment{}, fmt.Errorf("%q is not an RFC 3339 time: %w", args.Time, err)
	}
	duration, err := time.ParseDuration(args.Duration)
	if err != nil {
		return moment{}, fmt.Errorf("%q is not a duration: %w", args.Duration, err)
	}
	return momentOf(start.Add(duration)), nil
}

func momentOf(t time.Time) moment {
	zone := t.Location().String()
	if zone == "" { // a parsed time has no more than an offset
		zone = t.Format("-07:00")
	}
	return moment{Time: t.Format(time.RFC3339), Weekday: t.Weekday().String(), Timezone: zone}
}

func readZones(_ context.Context, request mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
	return jsonContents(request.Params.URI, []string{
		"Africa/Nairobi", "America/Los_Angeles", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Tokyo",
		"Australia/Sydney", "Europe/London", "Europe/Paris", "UTC",
	})
}

func (c clock) readZone(_ context.Context, request mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
	now, err := c.in(strings.TrimPrefix(request.Params.URI, zonePrefix))
	if err != nil {
		return nil, err
	}
	return jsonContents(request.Params.URI, now)
}

func jsonContents(uri string, value any) ([]mcp.ResourceContents, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("cannot write %q: %w", uri, err)
	}
	return []mcp.ResourceContents{mcp.TextResourceContents{URI: uri, MIMEType: "application/json", Text: string(text)}}, nil
}

func planMeeting(_ context.Context, request mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
	here, there := request.Params.Arguments["here"], request.Params.Arguments["there"]
	if here == "" || there == "" {
		return nil, errors.New(`the prompt needs both arguments, "here" and "there"`)
	}
	text := fmt.Sprintf("Find an hour of the coming week in which people in %s and in %s are both at work. "+
		"Use the tool get_time for each zone and name the hour in both.", here, there)
	return mcp.NewGetPromptResult("A meeting across time zones", []mcp.PromptMessage{
		mcp.NewPromptMessage(mcp.RoleUser, mcp.NewTextContent(text)),
	}), nil
}
