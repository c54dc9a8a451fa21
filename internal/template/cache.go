package template

import (
	"strings"
	"sync"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxCacheBytes is about how much memory parsed mails may take.
const maxCacheBytes = 64 << 20

// A mailCache keeps parsed mails by their source. The source is its own key, so
// nothing parsed can be out of date, templates and free-form content are one,
// and recipients of the same content share it. Hashing 2 KB takes less than a
// microsecond.
type mailCache struct {
	mu    sync.Mutex
	mails *simplelru.LRU[notify.Email, *cached]
	bytes int
}

// cached is parsed once by whoever comes first; the others wait for it.
type cached struct {
	once sync.Once
	mail *mail
}

func newMailCache() *mailCache {
	c := &mailCache{}
	mails, err := simplelru.NewLRU(maxCacheBytes, func(source notify.Email, _ *cached) {
		c.bytes -= weight(source)
	})
	if err != nil { // only for a size below 1
		panic(err)
	}
	c.mails = mails
	return c
}

func (c *mailCache) get(source notify.Email) *mail {
	found := c.find(source)
	found.once.Do(func() { found.mail = parseMail(source) })
	return found.mail
}

func (c *mailCache) find(source notify.Email) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.mails.Get(source); ok {
		return found
	}
	added := &cached{}
	c.mails.Add(source, added)
	for c.bytes += weight(source); c.bytes > maxCacheBytes && c.mails.Len() > 1; {
		c.mails.RemoveOldest()
	}
	return added
}

// weight is about how many bytes a parsed mail takes: its source, and a
// kilobyte for each tag or output.
func weight(source notify.Email) int {
	bytes := 1 << 10
	for _, part := range []string{source.Subject, source.HTML, source.Text, source.From, source.ReplyTo} {
		tags := strings.Count(part, "{{") + strings.Count(part, "{%")
		bytes += len(part) + min(tags, maxTags)<<10
	}
	return bytes
}
