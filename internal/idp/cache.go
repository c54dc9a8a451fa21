package idp

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A cache keeps answers about users for ttl, the most recently used ones up to
// its size. Expiry is checked when an entry is read: the expirable LRU of the
// same library would do it in a goroutine that nothing can stop.
type cache struct {
	entries *lru.Cache[string, entry] // nil keeps nothing
	ttl     time.Duration
	now     func() time.Time
}

type entry struct {
	user    notify.User
	expires time.Time
}

// newCache makes a cache that keeps nothing when size or ttl is not positive.
func newCache(size int, ttl time.Duration, now func() time.Time) *cache {
	c := &cache{ttl: ttl, now: now}
	if size > 0 && ttl > 0 {
		c.entries, _ = lru.New[string, entry](size) // its one error is a size below 1
	}
	return c
}

func (c *cache) get(userID string) (notify.User, bool) {
	if c.entries == nil {
		return notify.User{}, false
	}
	e, ok := c.entries.Get(userID)
	if !ok || !c.now().Before(e.expires) {
		return notify.User{}, false
	}
	return e.user, true
}

func (c *cache) put(userID string, user notify.User) {
	if c.entries != nil {
		c.entries.Add(userID, entry{user: user, expires: c.now().Add(c.ttl)})
	}
}
