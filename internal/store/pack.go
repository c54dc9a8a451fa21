package store

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A packer makes blobs of lists, such as the entries of chunks: 50 mails of 3 KB with much the
// same HTML become 1.5 KB in 0.06 ms, where gzip at its fastest makes 3.6 KB in
// 0.6 ms. It is safe for concurrent use.
type packer struct {
	encoder *zstd.Encoder
	large   *zstd.Encoder // of what is larger than the other one's window: it sees what mails of up to 1 MiB have in common
	decoder *zstd.Decoder
}

// How far back each encoder looks, which costs memory.
const (
	window      = 1 << 20
	largeWindow = 4 << 20
)

// maxChunkContent bounds what a blob unpacks to: each mail of a chunk at its
// limits, and as much again for all else.
const maxChunkContent = 2 * notify.ChunkSize * 2 * notify.MaxBodyBytes

func newPacker() (*packer, error) {
	encoder, err := newEncoder(window)
	if err != nil {
		return nil, err
	}
	large, err := newEncoder(largeWindow)
	if err != nil {
		return nil, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxChunkContent))
	if err != nil {
		return nil, err
	}
	return &packer{encoder: encoder, large: large, decoder: decoder}, nil
}

func newEncoder(window int) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
}

// plains are what JSON is written into before it is packed.
var plains = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// pack makes zstd of a value's JSON.
func (p *packer) pack(value any) ([]byte, error) {
	plain := plains.Get().(*bytes.Buffer)
	defer func() {
		if plain.Cap() <= window {
			plain.Reset()
			plains.Put(plain)
		}
	}()
	text := json.NewEncoder(plain)
	text.SetEscapeHTML(false)
	if err := text.Encode(value); err != nil {
		return nil, err
	}
	encoder := p.encoder
	if plain.Len() > window {
		encoder = p.large
	}
	return encoder.EncodeAll(plain.Bytes(), nil), nil
}

func (p *packer) unpack(blob []byte, into any) error {
	plain, err := p.decoder.DecodeAll(blob, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, into)
}
