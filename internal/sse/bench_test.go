package sse

import (
	"strings"
	"testing"
)

// stream has a hundred events of about 1 KiB, like the answers of MCP servers.
func stream() []byte {
	one := "event: message\nid: 3f2a-17\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"text\":\"" +
		strings.Repeat("all work and no play ", 46) + "\"}}\n\n"
	return []byte(strings.Repeat(one, 100))
}

func benchmarkSplitter(b *testing.B, size int) {
	all := stream()
	var s Splitter
	b.ReportAllocs()
	b.SetBytes(int64(len(all)))
	for b.Loop() {
		for rest := all; len(rest) > 0; {
			n := min(size, len(rest))
			s.Push(rest[:n])
			rest = rest[n:]
			for {
				_, ok, err := s.Next()
				if err != nil {
					b.Fatal(err)
				}
				if !ok {
					break
				}
			}
		}
	}
}

func BenchmarkSplitterWhole(b *testing.B)   { benchmarkSplitter(b, 1<<20) }
func BenchmarkSplitter16KiB(b *testing.B)   { benchmarkSplitter(b, 16<<10) }
func BenchmarkSplitter100(b *testing.B)     { benchmarkSplitter(b, 100) }
func BenchmarkSplitterOneByte(b *testing.B) { benchmarkSplitter(b, 1) }

func BenchmarkParse(b *testing.B) {
	block := stream()[:len(stream())/100]
	b.ReportAllocs()
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		if ev := Parse(block); !ev.HasData || !ev.HasID {
			b.Fatal(ev)
		}
	}
}

func BenchmarkRewrite(b *testing.B) {
	block := stream()[:len(stream())/100]
	id, data := "server-3f2a-17", Parse(block).Data
	var dst []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		dst = Rewrite(dst[:0], block, &id, data)
	}
}
