package workflows

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A Starter starts workflows.
type Starter struct {
	client    client.Client
	namespace string
	eager     func() bool

	known  atomic.Pointer[attributes]
	asking sync.Mutex
}

// NewStarter makes a Starter. Where eager says so the server is asked to hand a
// workflow's first task back at once, which helps once a worker polls through the
// same client, and not before: until then the SDK (1.50) writes what it reads for
// it without a lock.
func NewStarter(c client.Client, namespace string, eager func() bool) *Starter {
	return &Starter{client: c, namespace: namespace, eager: eager}
}

// Start starts the workflow of a notification that is stored. If there is a
// workflow of that id already, running or ended, it does nothing.
func (s *Starter) Start(ctx context.Context, n *notify.Notification) error {
	options := s.once(NotificationID(n.ID))
	options.EnableEagerStart = s.eager()
	options.StaticSummary = summary(n)
	options.TypedSearchAttributes = s.searchAttributes(ctx, n)
	return s.start(ctx, options, Notification, NewInput(n))
}

// Redeliver starts the workflow that has a delivery tried again. There is one
// for each claim that reopens it; one that an operator has terminated is
// started anew.
func (s *Starter) Redeliver(ctx context.Context, in RedeliveryInput) error {
	options := s.once(fmt.Sprintf("retry/%s/%d", in.DeliveryID, in.Claim))
	options.WorkflowIDReusePolicy = enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
	options.StaticSummary = "a delivery of notification " + in.NotificationID + " tried again by hand"
	return s.start(ctx, options, Redelivery, in)
}

// Cancel stops what is unsent of a notification, and answers what it could
// stop. Like Reschedule, Pause and Resume it is notify.CodeNotFound when no
// workflow of that id runs.
func (s *Starter) Cancel(ctx context.Context, id string) (activities.Result, error) {
	var stopped activities.Result
	return stopped, s.update(ctx, id, CancelUpdate, &stopped)
}

// Reschedule moves the time at which a notification that waits is to go out;
// notify.CodeTooLate when it waits no more, notify.CodeInvalid when it expires
// before.
func (s *Starter) Reschedule(ctx context.Context, id string, at time.Time) error {
	return s.update(ctx, id, RescheduleUpdate, nil, at)
}

// Pause holds back what is not begun; notify.CodeTooLate when nothing is left.
func (s *Starter) Pause(ctx context.Context, id string) error {
	return s.update(ctx, id, PauseUpdate, nil)
}

// Resume goes on after a Pause.
func (s *Starter) Resume(ctx context.Context, id string) error {
	return s.update(ctx, id, ResumeUpdate, nil)
}

// update has a notification's workflow carry out an update and waits for its
// answer.
func (s *Starter) update(ctx context.Context, id, name string, answer any, args ...any) error {
	updateID := "" // another one each time
	if name == CancelUpdate {
		// Who asks again because the answer took too long shall get that of the
		// first time, and not have all of it done once more.
		updateID = fmt.Sprint(name, "/", time.Now().Truncate(sameCancel).Unix())
	}
	handle, err := s.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: NotificationID(id), UpdateID: updateID, UpdateName: name, Args: args, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, answer)
	}
	if err == nil {
		return nil
	}
	result := &notify.Error{Code: notify.CodeUnavailable, Detail: name + " " + NotificationID(id), Err: err}
	var refused *temporal.ApplicationError
	var missing *serviceerror.NotFound
	switch {
	case errors.As(err, &missing), errors.As(err, &refused) && refused.Type() == endedMeanwhile:
		result.Code = notify.CodeNotFound
	case refused != nil && refused.Type() == TooLate:
		result.Code, result.Detail, result.Err = notify.CodeTooLate, refused.Message(), nil
	case refused != nil && refused.Type() == string(notify.CodeInvalid):
		result = &notify.Error{Code: notify.CodeInvalid, Fields: []notify.FieldError{{
			Location: "body.send_at", Message: refused.Message(), Value: args[0],
		}}}
	}
	return result
}

// sameCancel is how long cancels of a notification count as one: soon after, one
// may stop what it could not before.
const sameCancel = 10 * time.Second

// endedMeanwhile is the type of the server's error about an update whose
// workflow ended before it had answered.
const endedMeanwhile = "AcceptedUpdateCompletedWorkflow"

// once are the options of a workflow that there is one of for an id, for ever.
func (s *Starter) once(id string) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                                       id,
		TaskQueue:                                TaskQueue,
		WorkflowIDReusePolicy:                    enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowIDConflictPolicy:                 enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}
}

// start starts a workflow; that there is one already is no error.
func (s *Starter) start(ctx context.Context, options client.StartWorkflowOptions, workflow, input any) error {
	_, err := s.client.ExecuteWorkflow(ctx, options, workflow, input)
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	if err == nil || errors.As(err, &started) {
		return nil
	}
	return &notify.Error{Code: notify.CodeUnavailable, Detail: "start workflow " + options.ID, Err: err}
}

// summary says in one line what a notification is: "welcome@3 to 1 recipient
// by email".
func summary(n *notify.Notification) string {
	what := "free-form content"
	if n.Template != nil {
		what = n.Template.String()
	}
	whom := fmt.Sprintf("%d recipients", n.Recipients())
	switch {
	case n.Audience != nil && n.Audience.AllUsers:
		whom = "all users"
	case n.Recipients() == 1:
		whom = "1 recipient"
	}
	channels := make([]string, len(n.Channels))
	for i, c := range n.Channels {
		channels[i] = string(c)
	}
	return fmt.Sprintf("%s to %s by %s", what, whom, strings.Join(channels, " and "))
}

// searchAttributes are those of a notification that the server knows.
func (s *Starter) searchAttributes(ctx context.Context, n *notify.Notification) temporal.SearchAttributes {
	known := s.knownAttributes(ctx)
	var updates []temporal.SearchAttributeUpdate
	if n.Template != nil && known[TemplateAttribute.GetName()] {
		updates = append(updates, TemplateAttribute.ValueSet(n.Template.Name))
	}
	if known[ChannelAttribute.GetName()] {
		channels := make([]string, len(n.Channels))
		for i, c := range n.Channels {
			channels[i] = string(c)
		}
		updates = append(updates, ChannelAttribute.ValueSet(channels))
	}
	if len(n.Tags) > 0 && known[TagsAttribute.GetName()] {
		updates = append(updates, TagsAttribute.ValueSet(n.Tags))
	}
	return temporal.NewSearchAttributes(updates...)
}

// attributesFresh is for how long the server's search attributes are believed
// to be what they were.
const attributesFresh = 5 * time.Minute

// knownAttributes asks the server now and then which search attributes it has;
// it has none where it cannot say. While one asks, the others go on with what
// was known before.
func (s *Starter) knownAttributes(ctx context.Context) map[string]bool {
	known := s.known.Load()
	if known != nil && time.Since(known.at) < attributesFresh {
		return known.names
	}
	if !s.asking.TryLock() {
		if known == nil {
			return nil
		}
		return known.names
	}
	defer s.asking.Unlock()
	fresh := &attributes{at: time.Now()}
	answer, err := s.client.OperatorService().ListSearchAttributes(ctx,
		&operatorservice.ListSearchAttributesRequest{Namespace: s.namespace})
	if err != nil {
		var unavailable *serviceerror.Unavailable
		if known != nil {
			fresh.names = known.names
		}
		if !errors.As(err, &unavailable) && ctx.Err() == nil {
			s.known.Store(fresh) // it will not say: not every client may ask
		}
		return fresh.names
	}
	fresh.names = map[string]bool{}
	for name := range answer.GetCustomAttributes() {
		fresh.names[name] = true
	}
	s.known.Store(fresh)
	return fresh.names
}

// attributes are the search attributes that a server was seen to have.
type attributes struct {
	names map[string]bool
	at    time.Time
}
