package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/internal/intake"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/recurrence"
	"github.com/belfry-notify/belfry/internal/schedule"
)

type createScheduleInput struct {
	Body struct {
		Name string `json:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" example:"weekly-report"`
		ScheduleBody
	}
}

// ScheduleBody is what a schedule is made of.
type ScheduleBody struct {
	Cron          string           `json:"cron,omitempty" example:"0 9 * * 1-5" doc:"Five fields, or @daily and the like. Exactly one of cron, every and calendar"`
	Every         string           `json:"every,omitempty" example:"90m" maxLength:"32" doc:"A period of a minute or more, counted from start_at or else from creation"`
	Calendar      *calendar        `json:"calendar,omitempty"`
	TimeZone      string           `json:"time_zone" example:"Europe/Berlin" maxLength:"64" doc:"A name of the IANA database"`
	StartAt       *time.Time       `json:"start_at,omitempty" doc:"No run comes before"`
	EndAt         *time.Time       `json:"end_at,omitempty" doc:"No run comes after"`
	Jitter        string           `json:"jitter,omitempty" example:"30s" maxLength:"32" doc:"By how much at most a run may come late on purpose, up to 24h"`
	CatchupWindow string           `json:"catchup_window,omitempty" example:"1h" maxLength:"32" doc:"How late a run may start that was missed, 1m to 720h; 1h by default"`
	Overlap       schedule.Overlap `json:"overlap,omitempty" enum:"allow_all,skip" doc:"What becomes of a run while the notification of the one before has not ended; allow_all by default"`
	Notification  scheduledRequest `json:"notification" doc:"As in POST /v1/notifications, without send_at and delay. Each run takes the template's newest version"`
}

// scheduledRequest is checked by the schedule: huma would find it as a part of
// some bodies and not of others.
type scheduledRequest notificationRequest

// calendar is the JSON of a recurrence.Calendar, which finds its own faults.
type calendar struct{ json.RawMessage }

// Schema is that of its fields: numbers or ranges.
func (calendar) Schema(huma.Registry) *huma.Schema {
	field := func(doc string) *huma.Schema {
		return &huma.Schema{Description: doc, OneOf: []*huma.Schema{{Type: huma.TypeInteger}, {Type: huma.TypeString}}}
	}
	return &huma.Schema{
		Type:        huma.TypeObject,
		Description: `Dates and times of the day; each field is a number or a range such as "1-5"`,
		Properties: map[string]*huma.Schema{
			"month": field("1 to 12"), "day_of_month": field("1 to 31"), "day_of_week": field("0 to 7; 0 and 7 are Sunday"),
			"hour": field("0 to 23"), "minute": field("0 to 59"),
		},
		AdditionalProperties: true, // so that the calendar names the one it does not know
	}
}

// Resolve finds everything that is wrong with a schedule beyond its schema.
func (b *ScheduleBody) Resolve(ctx huma.Context, prefix *huma.PathBuffer) []error {
	c := checks{prefix: prefix.String()}
	rule := recurrence.Rule{Cron: b.Cron, Zone: b.TimeZone, StartAt: second(b.StartAt), EndAt: second(b.EndAt)}
	if b.Every != "" {
		rule.Every = c.duration("every", b.Every, time.Minute, 0)
	}
	if b.Calendar != nil {
		rule.Calendar = c.calendar(b.Calendar)
	}
	if _, err := recurrence.Compile(rule); err != nil {
		c.recurrence(err, map[string]any{"cron": b.Cron, "every": b.Every, "time_zone": b.TimeZone})
	}
	if b.StartAt != nil && b.StartAt.UTC().Year() > schedule.LastYear {
		c.add("start_at", fmt.Sprintf("must be in %d at the latest", schedule.LastYear), nil)
	}
	c.duration("jitter", b.Jitter, 0, schedule.MaxJitter)
	c.duration("catchup_window", b.CatchupWindow, schedule.MinCatchupWindow, schedule.MaxCatchupWindow)
	if b.Notification.SendAt != nil {
		c.add("notification.send_at", "has no place in a schedule, which says when", nil)
	}
	if b.Notification.Delay != "" {
		c.add("notification.delay", "has no place in a schedule, which says when", nil)
	}
	prefix.Push("notification")
	defer prefix.Pop()
	return append(c.errs, (*notificationRequest)(&b.Notification).Resolve(ctx, prefix)...)
}

var _ huma.ResolverWithPath = (*ScheduleBody)(nil)

// duration reads one from least to most (0: without limit). Where it is absent
// or refused, it is least.
func (c *checks) duration(field, value string, least, most time.Duration) time.Duration {
	if value == "" {
		return least
	}
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		c.add(field, "not a duration such as 90s, 10m or 24h", echo(value))
		return least
	case d < least:
		c.add(field, "must be "+schedule.Short(least)+" or more", echo(value))
		return least
	case most > 0 && d > most:
		c.add(field, "must be "+schedule.Short(most)+" or less", echo(value))
		return least
	}
	return d
}

// calendar reads one. Where it is refused, it is some other one.
func (c *checks) calendar(text *calendar) *recurrence.Calendar {
	var read recurrence.Calendar
	if err := json.Unmarshal(text.RawMessage, &read); err != nil {
		c.recurrence(err, nil)
		return &recurrence.Calendar{Hour: &recurrence.Range{}, Minute: &recurrence.Range{}}
	}
	return &read
}

// recurrence adds what is wrong with a rule; values are those of its fields.
func (c *checks) recurrence(err error, values map[string]any) {
	var wrong recurrence.Errors
	if !errors.As(err, &wrong) {
		wrong = recurrence.Errors{{Field: "calendar", Message: err.Error()}}
	}
	for _, f := range wrong {
		c.add(f.Field, f.Message, echo(values[f.Field]))
	}
}

// second cuts a time to the second, as schedules have it.
func second(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	cut := t.UTC().Truncate(time.Second)
	return &cut
}

// definition is what a body that has been checked defines, if a notification
// could be accepted now: its template must be there, and have content for the
// channels.
func (s *Server) definition(ctx context.Context, b *ScheduleBody) (*schedule.Definition, error) {
	asked, now := (*notificationRequest)(&b.Notification), s.now()
	if err := s.checkNow(asked); err != nil {
		return nil, inNotification(err)
	}
	request, err := asked.request(now)
	if err != nil {
		return nil, err
	}
	request.SendAt = nil
	if request.ExpiresAt != nil {
		expires := intake.Moment(*request.ExpiresAt)
		request.ExpiresAt = &expires
	}
	template, err := s.intake.Pin(ctx, request.Template)
	if err != nil {
		return nil, err
	}
	if _, err := s.intake.Record(ctx, request, newID(), template, now); err != nil {
		return nil, inNotification(err)
	}
	var checked checks // Resolve has found what is wrong
	definition := &schedule.Definition{
		Cron: b.Cron, TimeZone: b.TimeZone, StartAt: second(b.StartAt), EndAt: second(b.EndAt),
		Every:         checked.duration("every", b.Every, 0, 0),
		Jitter:        checked.duration("jitter", b.Jitter, 0, 0),
		CatchupWindow: cmp.Or(checked.duration("catchup_window", b.CatchupWindow, 0, 0), schedule.DefaultCatchupWindow),
		Overlap:       cmp.Or(b.Overlap, schedule.OverlapAllowAll),
		Notification:  *request,
	}
	if b.Calendar != nil {
		definition.Calendar = checked.calendar(b.Calendar)
	}
	return definition, nil
}

// inNotification locates what is wrong with a schedule's notification.
func inNotification(err error) error {
	var e *notify.Error
	if !errors.As(err, &e) || e.Code != notify.CodeInvalid {
		return err
	}
	located := *e
	located.Fields = nil
	for _, f := range e.Fields {
		if rest, ok := strings.CutPrefix(f.Location, "body."); ok {
			f.Location = "body.notification." + rest
		}
		located.Fields = append(located.Fields, f)
	}
	return &located
}

// scheduledNotification is what a schedule or a trigger sends.
type scheduledNotification notify.Request

// scheduleView is a schedule as callers see it.
type scheduleView struct {
	Name          string                `json:"name"`
	Cron          string                `json:"cron,omitempty"`
	Every         string                `json:"every,omitempty"`
	Calendar      *recurrence.Calendar  `json:"calendar,omitempty"`
	TimeZone      string                `json:"time_zone"`
	StartAt       *time.Time            `json:"start_at,omitempty"`
	EndAt         *time.Time            `json:"end_at,omitempty"`
	Jitter        string                `json:"jitter,omitempty"`
	CatchupWindow string                `json:"catchup_window"`
	Overlap       schedule.Overlap      `json:"overlap"`
	Notification  scheduledNotification `json:"notification"`
	Paused        bool                  `json:"paused"`
	NextRuns      []time.Time           `json:"next_runs" nullable:"false" doc:"The next five, soonest first; of a paused one as if it were not"`
	RecentRuns    []runView             `json:"recent_runs" nullable:"false" doc:"The last ten, newest first"`
}

// runView is one run of a schedule.
type runView struct {
	ScheduledAt    time.Time          `json:"scheduled_at"`
	Status         schedule.RunStatus `json:"status" enum:"started,skipped,failed"`
	NotificationID string             `json:"notification_id,omitempty" format:"uuid" doc:"Present where it was started"`
	Reason         schedule.RunReason `json:"reason,omitempty" doc:"Why there is no notification: overlap, paused, missed, or a code such as template_not_found"`
	Detail         string             `json:"detail,omitempty"`
}

// How many runs a schedule is shown with.
const (
	shownNext   = 5
	shownRecent = 10
)

func (s *Server) viewSchedule(ctx context.Context, of *schedule.Schedule) (*scheduleView, error) {
	next, err := of.NextRuns(s.now(), shownNext)
	if err != nil {
		return nil, err
	}
	recent, err := s.Store.LastRuns(ctx, of.Name, shownRecent)
	if err != nil {
		return nil, fmt.Errorf("runs of %s: %w", of.Name, err)
	}
	view := &scheduleView{
		Name: of.Name, Cron: of.Cron, Calendar: of.Calendar, TimeZone: of.TimeZone, StartAt: second(of.StartAt), EndAt: second(of.EndAt),
		CatchupWindow: schedule.Short(of.CatchupWindow), Overlap: of.Overlap, Notification: scheduledNotification(of.Notification),
		Paused: of.Paused, NextRuns: next, RecentRuns: make([]runView, len(recent)),
	}
	if next == nil {
		view.NextRuns = []time.Time{}
	}
	if of.Every > 0 {
		view.Every = schedule.Short(of.Every)
	}
	if of.Jitter > 0 {
		view.Jitter = schedule.Short(of.Jitter)
	}
	for i, r := range recent {
		view.RecentRuns[i] = runView{
			ScheduledAt: r.ScheduledAt.UTC(), Status: r.Status, NotificationID: r.NotificationID, Reason: r.Reason, Detail: r.Detail,
		}
	}
	return view, nil
}
