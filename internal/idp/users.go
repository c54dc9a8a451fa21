package idp

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
)

// A directory is a fixed set of users.
type directory struct {
	byID   map[string]*idppb.Info
	sorted []*idppb.Info // by id
}

// page is the users after an id, no more than limit of them; 0 is no limit.
func (d *directory) page(afterID string, limit int) []*idppb.Info {
	start, found := slices.BinarySearchFunc(d.sorted, afterID, compareID)
	if found {
		start++
	}
	rest := d.sorted[start:]
	if limit > 0 && limit < len(rest) {
		rest = rest[:limit]
	}
	return rest
}

func compareID(info *idppb.Info, id string) int { return strings.Compare(info.GetId(), id) }

// parseUsers reads a users file: a list of users in JSON or YAML, by the ending
// of its name. An error is one line that names the first wrong entry, counted
// from 1, and its field, but never a user's address, name or phone number.
func parseUsers(name string, text []byte) (*directory, error) {
	entries, err := decodeUsers(name, text)
	if err != nil {
		return nil, err
	}
	first := make(map[string]int, len(entries)) // id to entry
	d := &directory{
		byID:   make(map[string]*idppb.Info, len(entries)),
		sorted: make([]*idppb.Info, 0, len(entries)),
	}
	for i, entry := range entries {
		info, err := entry.info()
		if n, taken := first[entry.ID]; err == nil && taken {
			err = fmt.Errorf("id: entry %d has it too", n)
		}
		if err != nil {
			return nil, entryError(i, entry.ID, err)
		}
		first[entry.ID] = i + 1
		d.byID[entry.ID] = info
		d.sorted = append(d.sorted, info)
	}
	slices.SortFunc(d.sorted, func(a, b *idppb.Info) int { return compareID(a, b.GetId()) })
	return d, nil
}

func entryError(index int, id string, err error) error {
	if id == "" || utf8.RuneCountInString(id) > MaxUserIDLength {
		return fmt.Errorf("entry %d: %w", index+1, err)
	}
	return fmt.Errorf("entry %d (id %q): %w", index+1, id, err)
}
