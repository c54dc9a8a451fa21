package template

import (
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxCacheBytes is about how much memory parsed contents of a kind may take.
const maxCacheBytes = 64 << 20

// A cache keeps parsed contents by their source. The source is its own key, so
// nothing parsed can be out of date, templates and free-form content are one,
// and recipients of the same content share it. Hashing 2 KB takes less than a
// microsecond.
type cache[C content] struct {
	kind  kind[C]
	mu    sync.Mutex
	kept  *simplelru.LRU[C, *cached[C]]
	bytes int
}

// cached is parsed once by whoever comes first; the others wait for it.
type cached[C content] struct {
	once   sync.Once
	parsed *parsed[C]
}

func newCache[C content](kind kind[C]) *cache[C] {
	c := &cache[C]{kind: kind}
	kept, err := simplelru.NewLRU(maxCacheBytes, func(source C, _ *cached[C]) {
		c.bytes -= kind.weight(source)
	})
	if err != nil { // only for a size below 1
		panic(err)
	}
	c.kept = kept
	return c
}

func (c *cache[C]) get(source C) *parsed[C] {
	found := c.find(source)
	found.once.Do(func() { found.parsed = c.kind.parse(source) })
	return found.parsed
}

func (c *cache[C]) find(source C) *cached[C] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.kept.Get(source); ok {
		return found
	}
	added := &cached[C]{}
	c.kept.Add(source, added)
	for c.bytes += c.kind.weight(source); c.bytes > maxCacheBytes && c.kept.Len() > 1; {
		c.kept.RemoveOldest()
	}
	return added
}

// weight is about how many bytes a parsed content takes: its source, and a
// kilobyte for each tag or output.
func (k kind[C]) weight(source C) int {
	bytes := 1 << 10
	for _, p := range k.parts {
		text := *p.of(&source)
		tags := strings.Count(text, "{{") + strings.Count(text, "{%")
		bytes += len(text) + min(tags, maxTags)<<10
	}
	return bytes
}
