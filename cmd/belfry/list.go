package main

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

type listCommand struct {
	server
	Template string    `help:"Only those of the template of this name." placeholder:"NAME"`
	Status   string    `help:"Only those with this status, such as failed." placeholder:"STATUS"`
	Tag      string    `help:"Only those with this tag." placeholder:"TAG"`
	From     time.Time `help:"Only those created at this time or later, such as 2026-12-01T09:00:00Z." placeholder:"TIME" format:"2006-01-02T15:04:05Z07:00"`
	To       time.Time `help:"Only those created before this time." placeholder:"TIME" format:"2006-01-02T15:04:05Z07:00"`
	Limit    int       `help:"How many at most." default:"50" placeholder:"N"`
}

// Validate says what is wrong with the flags.
func (c *listCommand) Validate() error {
	if c.Limit < 1 {
		return usagef("--limit: needs a number from 1 on")
	}
	return nil
}

// Run lists notifications, newest first.
func (c *listCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	query := url.Values{}
	for name, value := range map[string]string{
		"template": c.Template, "status": c.Status, "tag": c.Tag, "from": moment(c.From), "to": moment(c.To),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	found := []shownNotification{}
	for more := true; more; {
		query.Set("limit", strconv.Itoa(min(c.Limit-len(found), mostOfPage)))
		page, next, err := listPage[notification](ctx, client, "/v1/notifications", query)
		if err != nil {
			return err
		}
		found = append(found, page...)
		query.Set("cursor", next)
		more = next != "" && len(found) < c.Limit
	}
	if c.asJSON() {
		return env.printValue(struct {
			Items []shownNotification `json:"items"`
		}{found})
	}
	if len(found) == 0 {
		return nil
	}
	rows := [][]string{{"NOTIFICATION", "CREATED", "STATUS", "TOTAL", "SENT", "QUEUED", "TEMPLATE"}}
	for _, n := range found {
		rows = append(rows, []string{
			n.is.ID, when(n.is.CreatedAt), string(n.is.Status), strconv.Itoa(n.is.Counts.Total), strconv.Itoa(sent(n.is.Counts)),
			strconv.Itoa(n.is.Counts.Queued), templateRef(n.is.Template),
		})
	}
	return env.print(aligned(rows))
}

// sent is how many went out, confirmed or not.
func sent(c notify.Counts) int { return c.Sent + c.Delivered }

// moment is a time as a query has it, empty for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func templateRef(t *notify.TemplateRef) string {
	if t == nil {
		return ""
	}
	return t.String()
}
