package router

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

var update = flag.Bool("update", false, "write the transcripts' decisions anew")

// TestTranscripts routes each NAME.request of testdata/*.txtar and compares with NAME.decision. What a request writes as
// ${…} is explained at expand.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			require.NoError(t, err)
			require.NotEmpty(t, bytes.TrimSpace(archive.Comment), "the transcript must open with why it exists")
			out := &txtar.Archive{Comment: archive.Comment}
			want := map[string]string{}
			for _, f := range archive.Files {
				if name, ok := strings.CutSuffix(f.Name, ".decision"); ok {
					want[name] = string(f.Data)
				}
			}
			for _, f := range archive.Files {
				name, ok := strings.CutSuffix(f.Name, ".request")
				if !ok {
					continue
				}
				t.Run(name, func(t *testing.T) {
					got := decide(t, string(f.Data))
					out.Files = append(out.Files, f, txtar.File{Name: name + ".decision", Data: []byte(got)})
					if diff := cmp.Diff(want[name], got); diff != "" && !*update {
						t.Errorf("run with -update if this is right (-want +got):\n%s", diff)
					}
				})
				delete(want, name)
			}
			assert.Empty(t, want, "decisions without a request")
			if *update {
				require.NoError(t, os.WriteFile(path, txtar.Format(out), 0o644))
			}
		})
	}
}

// decide routes a request as an adapter would, and renders what becomes of it.
func decide(t *testing.T, text string) string {
	t.Helper()
	w := newWorld(t)
	head, body, hasBody := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	method, path, ok := strings.Cut(lines[0], " ")
	require.True(t, ok, "the first line must be METHOD PATH")
	req := new(Request)
	req.Reset()
	req.Add(":method", method)
	req.Add(":path", path)
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		require.True(t, ok, "header %q", line)
		req.Add(name, w.expand(t, strings.TrimPrefix(value, " ")))
	}
	raw := []byte(w.expand(t, strings.TrimSuffix(body, "\n")))
	if !hasBody || !w.router.NeedsBody(req) {
		raw = nil
	}
	before := bytes.Clone(raw)
	d := new(Decision)
	w.router.Route(req, raw, d)
	assert.Equal(t, before, raw, "the request's own bytes were changed")
	if d.Reply != nil {
		assert.True(t, json.Valid(d.Reply.Body), "%s", d.Reply.Body)
	}
	return w.contract(t, render(d))
}

var (
	macro  = regexp.MustCompile(`\$\{([a-z-]+)(?::([^}]*))?\}`)
	sealed = regexp.MustCompile(`gw\.[rtcsib]\.[A-Za-z0-9/_.-]+`)
)

// expand replaces ${name} by a token of the world, and
//
//	${seal:K WHOSE SERVER RAW}  by RAW, sealed as kind K (r, t, c, s, i or b) by the session "open", "fresh" or "forecasts"
//	${repeat:N TEXT}            by TEXT, N times
//	${bytes:HEX}                by those bytes
func (w *world) expand(t *testing.T, s string) string {
	t.Helper()
	return macro.ReplaceAllStringFunc(s, func(m string) string {
		parts := macro.FindStringSubmatch(m)
		switch name, args := parts[1], parts[2]; name {
		case "seal":
			f := strings.SplitN(args, " ", 4)
			s := w.sealers()[f[1]]
			return s.Seal(session.SealKind(f[0][0]), f[2], []byte(f[3]))
		case "repeat":
			n, text, _ := strings.Cut(args, " ")
			count, err := strconv.Atoi(n)
			require.NoError(t, err)
			return strings.Repeat(text, count)
		case "bytes":
			var b []byte
			_, err := fmt.Sscanf(args, "%x", &b)
			require.NoError(t, err)
			return string(b)
		default:
			require.Contains(t, w.tokens, name)
			return w.tokens[name]
		}
	})
}

// sealers are the sessions that transcripts have values of.
func (w *world) sealers() map[string]*session.Session {
	return map[string]*session.Session{"open": w.open, "fresh": w.fresh, "forecasts": w.forecasts}
}

// contract is the reverse of expand, so that a transcript is the same in every run.
func (w *world) contract(t *testing.T, s string) string {
	t.Helper()
	for name, token := range w.tokens {
		s = strings.ReplaceAll(s, token, "${"+name+"}")
	}
	return sealed.ReplaceAllStringFunc(s, func(m string) string {
		for whose, sess := range w.sealers() {
			if kind, server, raw, ok := sess.Unseal(m); ok {
				return fmt.Sprintf("${seal:%c %s %s %s}", kind, whose, server, raw)
			}
		}
		return m
	})
}

// render shows a decision to a human.
func render(d *Decision) string {
	var b strings.Builder
	if d.Reply != nil {
		fmt.Fprintf(&b, "reply %d\n", d.Reply.Status)
		for _, h := range d.Reply.Headers {
			fmt.Fprintf(&b, "%s: %s\n", h.Name, h.Value)
		}
		fmt.Fprintf(&b, "%s\n", d.Reply.Body)
		for _, m := range d.Metadata {
			fmt.Fprintf(&b, "metadata %s = %s\n", m.Name, m.Value)
		}
		return b.String()
	}
	target := "server"
	for _, h := range d.Set {
		if h.Name == wire.HeaderCluster && h.Value == wire.BrokerCluster {
			target = "broker"
		}
	}
	fmt.Fprintf(&b, "to the %s\n", target)
	for _, name := range d.Remove {
		fmt.Fprintf(&b, "remove %s\n", name)
	}
	for _, h := range d.Set {
		fmt.Fprintf(&b, "set %s: %s\n", h.Name, h.Value)
	}
	for _, m := range d.Metadata {
		fmt.Fprintf(&b, "metadata %s = %q\n", m.Name, m.Value)
	}
	if c := d.Watch; c != nil {
		fmt.Fprintf(&b, "watch %s session %q id %s replayable %t\n", c.Server.Name, c.Backend.ID, c.ID, c.Replayable)
	}
	if d.Track != nil {
		fmt.Fprintf(&b, "track %s id %s\n", d.Track.Server.Name, d.Track.ID)
	}
	if d.Body == nil {
		b.WriteString("body as it came\n")
	} else {
		fmt.Fprintf(&b, "body %s\n", d.Body)
	}
	return b.String()
}
