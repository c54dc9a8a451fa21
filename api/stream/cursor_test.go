package stream

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestCursors(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 1, 2, 3, 4e6, time.UTC)
	for _, c := range []cursor{{at: at}, {at: at, item: uuid.New()}} {
		text := c.String()
		require.Regexp(t, `^[A-Za-z0-9_-]+$`, text)
		parsed, err := parseCursor(text)
		require.NoError(t, err)
		require.Equal(t, c, parsed)
	}
	for _, text := range []string{"", "x", "AQ", "%", cursor{at: at}.String() + "AA", "Ag" + cursor{at: at}.String()[2:], cursor{at: at}.String() + "="} {
		_, err := parseCursor(text)
		require.Error(t, err, text)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{at: time.UnixMilli(1)}.String())
	f.Add(cursor{at: time.UnixMilli(1), item: uuid.Max}.String())
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCursor(text)
		if err != nil {
			return
		}
		require.Equal(t, text, c.String())
	})
}

func FuzzFrame(f *testing.F) {
	for _, text := range []string{
		`{"type":"hello","token":"x","user_id":"ann","after":"x"}`, `{"type":"ack","cursor":"x"}`, `{"type":"seen","item_id":"x"}`, `{"type":1}`, `[`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var end *ending
		switch kind := frameType(text); kind {
		case "hello":
			_, end = decode[clientHello](text)
		case "ack":
			_, end = decode[clientAck](text)
		case "seen":
			_, end = decode[clientChange](text)
		}
		if end != nil {
			require.Equal(t, closeBadFrame, end.code)
			require.NotEmpty(t, end.detail)
		}
	})
}

func TestAnOutboxIsBounded(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	large := text{item: make([]byte, maxFramesSize)}
	require.True(t, o.offer(large), "one frame may be as large as it is")
	require.False(t, o.offer(text{before: "x"}))
	_, _, ok := o.next()
	require.True(t, ok)
	for range maxFrames {
		require.True(t, o.offer(text{before: "x"}))
	}
	require.False(t, o.offer(text{before: "x"}))
	o.end(&ending{code: closeTooMuch}, []text{{before: "gap"}})
	o.end(&ending{code: closeBadFrame}, nil)
	frame, _, ok := o.next()
	require.True(t, ok)
	require.Equal(t, "gap", string(frame.appendTo(nil)))
	_, last, ok := o.next()
	require.False(t, ok)
	require.Equal(t, closeTooMuch, last.code, "the first end is the end")
	require.ErrorIs(t, o.put(t.Context(), large), errEnded)
}
