package upstream

import (
	"context"
	"errors"
	"net/http"
	"os"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/credential"
)

// causeOf tells what kind of trouble an error with a server is. Whoever has to do something about it differs.
func causeOf(err error) catalog.Cause {
	var (
		status    *StatusError
		transport *transportError
		token     *credential.Error
	)
	switch {
	case errors.As(err, &token):
		return catalog.CauseUnauthorized
	case errors.As(err, &status):
		return causeOfStatus(status.Status)
	case errors.As(err, &transport), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return catalog.CauseUnreachable
	}
	return catalog.CauseProtocol
}

func causeOfStatus(status int) catalog.Cause {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return catalog.CauseUnauthorized
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= http.StatusInternalServerError && status != http.StatusNotImplemented:
		return catalog.CauseUnreachable
	}
	return catalog.CauseProtocol
}
