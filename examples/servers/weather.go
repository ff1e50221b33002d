package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// maxSteps bounds watch_storm, so that no call runs for ever.
const maxSteps = 120

type forecast struct {
	City        string  `json:"city" jsonschema:"the city asked for"`
	Sky         string  `json:"sky" jsonschema:"what the sky looks like"`
	Temperature float64 `json:"temperature" jsonschema:"degrees Celsius"`
	Wind        int     `json:"wind" jsonschema:"kilometres per hour"`
}

type alerts struct {
	Region string   `json:"region" jsonschema:"the region asked for"`
	Alerts []string `json:"alerts" jsonschema:"the warnings in force, if any"`
}

// newWeather makes a server whose weather is invented from the names of places: the same place always has the same
// weather. One step of watch_storm takes as long as pace.
func newWeather(pace time.Duration) *server.MCPServer {
	s := server.NewMCPServer("weather", version,
		server.WithTitle("Example weather"),
		server.WithInstructions("The weather of any place, invented but always the same."),
		server.WithToolCapabilities(true),
		server.WithInputSchemaValidation(),
	)
	s.AddTool(mcp.NewTool("get_forecast",
		mcp.WithDescription("Tells today's weather in a city."),
		mcp.WithTitleAnnotation("Forecast"),
		mcp.WithReadOnlyHintAnnotation(true),
		mcp.WithDestructiveHintAnnotation(false),
		mcp.WithIdempotentHintAnnotation(true),
		mcp.WithOpenWorldHintAnnotation(false),
		mcp.WithString("city", mcp.Required(), mcp.MinLength(1), mcp.Description("the city's name")),
		mcp.WithOutputSchema[forecast](),
	), mcp.NewStructuredToolHandler(getForecast))
	s.AddTool(mcp.NewTool("get_alerts",
		mcp.WithDescription("Lists the weather warnings for a region."),
		mcp.WithTitleAnnotation("Alerts"),
		mcp.WithReadOnlyHintAnnotation(true),
		mcp.WithDestructiveHintAnnotation(false),
		mcp.WithIdempotentHintAnnotation(true),
		mcp.WithOpenWorldHintAnnotation(false),
		mcp.WithString("region", mcp.Required(), mcp.MinLength(1), mcp.Description("the region's name")),
		mcp.WithOutputSchema[alerts](),
	), mcp.NewStructuredToolHandler(getAlerts))
	s.AddTool(mcp.NewTool("watch_storm",
		mcp.WithDescription(fmt.Sprintf("Follows a storm for some steps of %v each and reports progress on the way.", pace)),
		mcp.WithTitleAnnotation("Watch a storm"),
		mcp.WithReadOnlyHintAnnotation(true),
		mcp.WithDestructiveHintAnnotation(false),
		mcp.WithOpenWorldHintAnnotation(false),
		mcp.WithInteger("steps", mcp.DefaultNumber(5), mcp.Min(1), mcp.Max(maxSteps), mcp.Description("how many steps to follow it")),
	), watchStorm(pace))
	return s
}

func getForecast(_ context.Context, _ mcp.CallToolRequest, args struct {
	City string `json:"city"`
},
) (forecast, error) {
	city := strings.TrimSpace(args.City)
	if city == "" {
		return forecast{}, errors.New("the city's name is empty")
	}
	n := seed(city)
	return forecast{
		City:        city,
		Sky:         pick(n, "sunny", "cloudy", "foggy", "rainy", "stormy", "snowing"),
		Temperature: float64(int(n/7%400)-50) / 10,
		Wind:        int(n / 11 % 90),
	}, nil
}

func getAlerts(_ context.Context, _ mcp.CallToolRequest, args struct {
	Region string `json:"region"`
},
) (alerts, error) {
	region := strings.TrimSpace(args.Region)
	if region == "" {
		return alerts{}, errors.New("the region's name is empty")
	}
	found := alerts{Region: region, Alerts: []string{}}
	n := seed(region)
	for i, warning := range []string{"gale", "flood", "frost", "heat"} {
		if n>>(2*i)&3 == 0 { // each of them one time in four
			found.Alerts = append(found.Alerts, warning+" warning")
		}
	}
	return found, nil
}

func watchStorm(pace time.Duration) server.ToolHandlerFunc {
	return func(ctx context.Context, request mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		steps := request.GetInt("steps", 5)
		if steps < 1 || steps > maxSteps {
			return mcp.NewToolResultErrorf("steps is %d, want 1 to %d", steps, maxSteps), nil
		}
		ticker := time.NewTicker(pace)
		defer ticker.Stop()
		for step := 1; step <= steps; step++ {
			// Before the wait, not after it: a report too close to the result can be overtaken by it.
			if err := reportProgress(ctx, request, step, steps); err != nil {
				return nil, err
			}
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("the watch ended at step %d of %d: %w", step, steps, ctx.Err())
			case <-ticker.C:
			}
		}
		return mcp.NewToolResultText(fmt.Sprintf("The storm has passed after %d steps.", steps)), nil
	}
}

// reportProgress does nothing for a caller that gave no progress token: it asked for none.
func reportProgress(ctx context.Context, request mcp.CallToolRequest, step, steps int) error {
	if request.Params.Meta == nil || request.Params.Meta.ProgressToken == nil {
		return nil
	}
	err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{
		"progressToken": request.Params.Meta.ProgressToken,
		"progress":      step,
		"total":         steps,
		"message":       fmt.Sprintf("The storm is %d km away.", 10*(steps-step)),
	})
	if err != nil {
		return fmt.Errorf("cannot report step %d of %d: %w", step, steps, err)
	}
	return nil
}

// seed turns a name into a number that is the same on every run and every machine, whatever the name's case.
func seed(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(strings.ToLower(name)))
	return h.Sum32()
}

func pick(n uint32, from ...string) string { return from[int(n%uint32(len(from)))] }
