package upstream

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/credential"
)

func TestCauseOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want catalog.Cause
	}{
		{&StatusError{Status: 401}, catalog.CauseUnauthorized},
		{&StatusError{Status: 403}, catalog.CauseUnauthorized},
		{&credential.Error{Server: "a"}, catalog.CauseUnauthorized},
		{&StatusError{Status: 404}, catalog.CauseProtocol},
		{&StatusError{Status: 302}, catalog.CauseProtocol},
		{&StatusError{Status: 429}, catalog.CauseUnreachable},
		{&StatusError{Status: 503}, catalog.CauseUnreachable},
		{&transportError{err: errors.New("connection refused")}, catalog.CauseUnreachable},
		{context.DeadlineExceeded, catalog.CauseUnreachable},
		{&answerError{fault: "no JSON"}, catalog.CauseProtocol},
	} {
		assert.Equal(t, test.want, causeOf(fmt.Errorf("tools/list: %w", test.err)), "%v", test.err)
	}
}
