package stream

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/strictjson"
)

// The codes with which the server closes a socket, besides those of RFC 6455.
const (
	closeBadFrame        = 4400
	closeUnauthenticated = 4401 // not, or no longer
	closeNoHello         = 4408
	closeTooMuch         = 4429
)

// Words of error frames.
const (
	wordBadFrame     = "bad_frame"
	wordUnauthorized = "unauthorized"
	wordForbidden    = "forbidden"
	wordScope        = "scope_missing"
	wordNotFound     = "not_found"
	wordUnavailable  = "unavailable"
	wordTooMuch      = "too_much"
)

// An ending is how the server closes a socket: with an error frame before it,
// where there is a word.
type ending struct {
	code   int
	word   string
	detail string
}

var goingAway = &ending{websocket.CloseServiceRestart, "", "this instance is going away"}

func badFrame(detail string) *ending { return &ending{closeBadFrame, wordBadFrame, detail} }

// Frames of the server.
type (
	helloFrame struct {
		Type         string `json:"type"`
		ConnectionID string `json:"connection_id"`
		Unread       int    `json:"unread"`
		Cursor       string `json:"cursor"`
	}
	stateFrame struct {
		Type       string     `json:"type"`
		ItemID     string     `json:"item_id"`
		SeenAt     *time.Time `json:"seen_at,omitempty"`
		ReadAt     *time.Time `json:"read_at,omitempty"`
		ArchivedAt *time.Time `json:"archived_at,omitempty"`
		Unread     int        `json:"unread"`
	}
	gapFrame struct {
		Type   string `json:"type"`
		Cursor string `json:"cursor"`
	}
	errorFrame struct {
		Type   string `json:"type"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
)

// A text is a frame as it is written. The item in it is shared by all sockets
// that it goes to.
type text struct {
	before string
	item   json.RawMessage
	after  string
}

func (t text) size() int { return len(t.before) + len(t.item) + len(t.after) }

// appendTo adds the text to a buffer.
func (t text) appendTo(buffer []byte) []byte {
	return append(append(append(buffer, t.before...), t.item...), t.after...)
}

// textOf makes the text of a frame.
func textOf(frame any) text {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(frame); err != nil { // frames are structs of ours
		panic(err)
	}
	return text{before: strings.TrimSpace(encoded.String())}
}

// itemText is a frame with an item; a cursor needs no escapes.
func itemText(item *gateway.Item, cursor string) text {
	return text{`{"type":"item","item":`, item.JSON, `,"cursor":"` + cursor + `"}`}
}

func stateText(s *gateway.State) text {
	return textOf(stateFrame{"state", s.ItemID, s.SeenAt, s.ReadAt, s.ArchivedAt, s.Unread})
}

// Frames of clients.
type (
	clientHello struct {
		Type   string `json:"type"`
		Token  string `json:"token"`
		Ticket string `json:"ticket"`
		UserID string `json:"user_id"`
		After  string `json:"after"`
	}
	clientAck struct {
		Type   string `json:"type"`
		Cursor string `json:"cursor"`
	}
	clientChange struct {
		Type   string `json:"type"`
		ItemID string `json:"item_id"`
	}
)

// maxNesting is how deep a frame may be nested.
const maxNesting = 4

// frameType reads which frame a text is; empty for what is none.
func frameType(text []byte) string {
	if strictjson.Check(text, maxNesting) != nil {
		return ""
	}
	var frame struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(text, &frame) != nil {
		return ""
	}
	return frame.Type
}

// decode reads a frame that has been checked, and refuses fields it does not
// have.
func decode[F any](text []byte) (F, *ending) {
	var frame F
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&frame); err != nil {
		return frame, badFrame(err.Error())
	}
	return frame, nil
}
