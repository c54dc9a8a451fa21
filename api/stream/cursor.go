package stream

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"
)

// A cursor says what a client has: everything that was stored until overlap
// before a moment. It also names the item that it came with, which says what is
// acknowledged by it.
type cursor struct {
	at   time.Time
	item uuid.UUID // zero: it came with none
}

// cursorVersion begins every cursor, so that there can be others.
const cursorVersion = 1

// String makes an opaque text of URL-safe characters.
func (c cursor) String() string {
	text := binary.BigEndian.AppendUint64([]byte{cursorVersion}, uint64(c.at.UnixMilli()))
	if c.item != uuid.Nil {
		text = append(text, c.item[:]...)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

var errNoCursor = errors.New("not a cursor of this stream")

func parseCursor(text string) (cursor, error) {
	const short, long = 9, 9 + 16
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != short && len(raw) != long || raw[0] != cursorVersion {
		return cursor{}, errNoCursor
	}
	milliseconds := binary.BigEndian.Uint64(raw[1:short])
	if milliseconds > 1<<47 { // year 6429
		return cursor{}, errNoCursor
	}
	c := cursor{at: time.UnixMilli(int64(milliseconds)).UTC()}
	copy(c.item[:], raw[short:])
	if c.String() != text { // decoders are lenient
		return cursor{}, errNoCursor
	}
	return c, nil
}
