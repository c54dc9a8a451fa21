// Package codec encrypts what Temporal keeps of Belfry's workflows: inputs,
// results, summaries and failures.
package codec

import (
	"fmt"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
)

// The metadata of an encrypted payload. Temporal's UI shows them.
const (
	encoding        = "binary/encrypted"
	metadataKeyID   = "encryption-key-id"
	metadataEncoded = converter.MetadataEncoding
)

// A KeyError says that a payload cannot be decrypted.
type KeyError struct {
	KeyID   string // of the key that encrypted it
	Missing bool   // there is no such key; or else it is another one, or the payload was changed
}

func (e *KeyError) Error() string {
	if e.Missing {
		return fmt.Sprintf("payload encrypted with key %q, which BELFRY_PAYLOAD_KEYS does not have", e.KeyID)
	}
	return fmt.Sprintf("payload encrypted with key %q cannot be decrypted: it was changed, or the key of that id is another one", e.KeyID)
}

// A Codec encrypts whole payloads with AES-256-GCM, their metadata too. What
// was not encrypted it leaves as it is, so that encryption can be switched on
// while workflows run.
type Codec struct{ keys Keys }

// New makes a codec of keys. Without any it encrypts nothing, and can decrypt
// nothing.
func New(keys Keys) *Codec { return &Codec{keys: keys} }

var _ converter.PayloadCodec = (*Codec)(nil)

// Encode encrypts payloads.
func (c *Codec) Encode(payloads []*common.Payload) ([]*common.Payload, error) {
	if !c.keys.Encrypt() {
		return payloads, nil
	}
	encoded := make([]*common.Payload, len(payloads))
	for i, p := range payloads {
		plain, err := proto.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("encrypt a payload: %w", err)
		}
		id := c.keys.first
		encoded[i] = &common.Payload{
			Metadata: map[string][]byte{metadataEncoded: []byte(encoding), metadataKeyID: []byte(id)},
			Data:     c.keys.byID[id].Seal(nil, nil, plain, additional(id)), //nolint:gosec // it makes a random nonce, with which the data begin
		}
	}
	return encoded, nil
}

// Decode decrypts payloads; the error is a *KeyError.
func (c *Codec) Decode(payloads []*common.Payload) ([]*common.Payload, error) {
	decoded := make([]*common.Payload, len(payloads))
	for i, p := range payloads {
		var err error
		if decoded[i], err = c.decode(p); err != nil {
			return nil, err
		}
	}
	return decoded, nil
}

func (c *Codec) decode(p *common.Payload) (*common.Payload, error) {
	if string(p.GetMetadata()[metadataEncoded]) != encoding {
		return p, nil
	}
	id := string(p.GetMetadata()[metadataKeyID])
	aead, known := c.keys.byID[id]
	if !known {
		return nil, &KeyError{KeyID: id, Missing: true}
	}
	plain, err := aead.Open(nil, nil, p.GetData(), additional(id))
	if err != nil {
		return nil, &KeyError{KeyID: id}
	}
	var payload common.Payload
	if err := proto.Unmarshal(plain, &payload); err != nil {
		return nil, &KeyError{KeyID: id}
	}
	return &payload, nil
}

// KeyOf is the id of the key that a payload is encrypted with, "" where it is
// not.
func KeyOf(p *common.Payload) string {
	if string(p.GetMetadata()[metadataEncoded]) != encoding {
		return ""
	}
	return string(p.GetMetadata()[metadataKeyID])
}

// additional is what is authenticated with a payload, besides its data.
func additional(id string) []byte { return []byte(encoding + "/" + id) }
