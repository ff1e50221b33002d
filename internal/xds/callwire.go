package xds

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// The numbers of the fields that are read of Envoy's messages; a test holds them to its API.
const (
	messageHTTPLogs = 2 // of StreamAccessLogsMessage
	logsEntry       = 1 // of HTTPAccessLogEntries
	entryCommon     = 1 // of HTTPAccessLogEntry
	entryResponse   = 4
	responseCode    = 1 // of HTTPResponseProperties

	// Of AccessLogCommon.
	commonStart      = 5
	commonFirstSent  = 7
	commonLastGot    = 10
	commonCluster    = 15
	commonMetadata   = 17
	commonDuration   = 23
	mapKey, mapValue = 1, 2
	stringValue      = 3 // of Value, in a Struct
)

// fields calls f with each field of a message: with its bytes, or with its number where it is one. It tells whether the message is whole.
func fields(message []byte, f func(field protowire.Number, value []byte, number uint64)) bool {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		switch kind {
		case protowire.BytesType:
			value, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return false
			}
			f(field, value, 0)
			message = message[n:]
		case protowire.VarintType:
			number, n := protowire.ConsumeVarint(message)
			if n < 0 {
				return false
			}
			f(field, nil, number)
			message = message[n:]
		default:
			if n = protowire.ConsumeFieldValue(field, kind, message); n < 0 {
				return false
			}
			message = message[n:]
		}
	}
	return true
}

// callReader reads the reports of one Envoy.
type callReader struct{ reader callreport.Reader }

// each reads the calls of one message of Envoy's.
func (r *callReader) each(message []byte, take func(*callreport.Call)) bool {
	whole := true
	whole = fields(message, func(field protowire.Number, logs []byte, _ uint64) {
		if field != messageHTTPLogs {
			return
		}
		whole = fields(logs, func(field protowire.Number, entry []byte, _ uint64) {
			if field == logsEntry {
				c, ok := r.call(entry)
				if whole = whole && ok; ok {
					take(c)
				}
			}
		}) && whole
	}) && whole
	return whole
}

func (r *callReader) call(entry []byte) (*callreport.Call, bool) {
	c, ok := r.reader.Begin(), true
	whole := fields(entry, func(field protowire.Number, value []byte, _ uint64) {
		switch field {
		case entryCommon:
			ok = r.common(c, value) && ok
		case entryResponse:
			ok = fields(value, func(field protowire.Number, value []byte, _ uint64) {
				if field == responseCode {
					ok = fields(value, func(_ protowire.Number, _ []byte, number uint64) { c.Status = int(number) }) && ok
				}
			}) && ok
		default:
		}
	})
	return c, whole && ok
}

func (r *callReader) common(c *callreport.Call, common []byte) bool {
	var sent, got time.Duration
	ok, answered := true, 0
	whole := fields(common, func(field protowire.Number, value []byte, _ uint64) {
		switch field {
		case commonStart:
			seconds, nanos := secondsOf(value)
			c.Start = time.Unix(seconds, nanos).UTC()
		case commonFirstSent:
			sent = durationOf(value)
			answered++
		case commonLastGot:
			got = durationOf(value)
			answered++
		case commonCluster:
			c.Broker = string(value) == wire.BrokerCluster
		case commonDuration:
			c.Duration = durationOf(value)
		case commonMetadata:
			ok = fields(value, func(_ protowire.Number, entry []byte, _ uint64) { r.metadata(entry) }) && ok
		default:
		}
	})
	if answered == 2 {
		c.Upstream = got - sent
	}
	return whole && ok
}

// metadata takes the facts of the router's namespace, and none of those of others, such as the claims of a token.
func (r *callReader) metadata(entry []byte) {
	namespace, facts := keyAndValue(entry)
	if string(namespace) != wire.MetadataNamespace {
		return
	}
	fields(facts, func(_ protowire.Number, entry []byte, _ uint64) {
		key, value := keyAndValue(entry)
		fields(value, func(field protowire.Number, text []byte, _ uint64) {
			if field == stringValue {
				r.reader.Fact(key, text)
			}
		})
	})
}

func keyAndValue(entry []byte) (key, value []byte) {
	fields(entry, func(field protowire.Number, bytes []byte, _ uint64) {
		switch field {
		case mapKey:
			key = bytes
		case mapValue:
			value = bytes
		default:
		}
	})
	return key, value
}

func secondsOf(message []byte) (seconds, nanos int64) {
	fields(message, func(field protowire.Number, _ []byte, number uint64) {
		if field == 1 {
			seconds = int64(number)
		} else {
			nanos = int64(number)
		}
	})
	return seconds, nanos
}

func durationOf(message []byte) time.Duration {
	seconds, nanos := secondsOf(message)
	return time.Duration(seconds)*time.Second + time.Duration(nanos)
}
