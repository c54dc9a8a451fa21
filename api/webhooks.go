package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/sendgrid/sendgrid-go/helpers/eventwebhook"
	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/internal/channel"
	"github.com/belfry-notify/belfry/internal/notify"
)

// Limits of a provider's webhook. SendGrid posts what came together in 30 s, or
// 768 KB of it if that is reached before ("Event Webhook Reference").
const (
	maxWebhookBody     = 4 << 20
	webhookConcurrency = 16 // deliveries brought up to date at a time
	recountTimeout     = 45 * time.Second
	webhookTimeout     = 55 * time.Second // all of it, and the answer in time
)

// webhooksPath begins the paths of webhooks.
const webhooksPath = "/v1/webhooks/"

// webhookRoutes add the ways in for providers. Their bodies are not held to the
// rules of Belfry's own: providers add fields and events when they like.
func (s *Server) webhookRoutes(api huma.API) {
	operation := route(http.MethodPost, webhooksPath+"sendgrid", "sendgrid-webhook",
		"Take in SendGrid's signed event webhook", http.StatusNoContent,
		http.StatusForbidden, http.StatusNotFound, http.StatusRequestEntityTooLarge)
	operation.MaxBodyBytes = maxWebhookBody + 1
	operation.SkipValidateParams, operation.SkipValidateBody = true, true
	huma.Register(api, operation, func(ctx context.Context, in *struct {
		Signature string `header:"X-Twilio-Email-Event-Webhook-Signature" doc:"ECDSA over timestamp and body, base64"`
		Timestamp string `header:"X-Twilio-Email-Event-Webhook-Timestamp" doc:"Unix time of signing"`
		RawBody   []byte `contentType:"application/json"`
	},
	) (*struct{}, error) {
		if s.SendGridWebhookKey == nil {
			return nil, newProblem(http.StatusNotFound, "the webhook of SendGrid is not set up: BELFRY_SENDGRID_WEBHOOK_KEY")
		}
		header := http.Header{}
		header.Set(eventwebhook.VerificationHTTPHeader, in.Signature)
		header.Set(eventwebhook.TimestampHTTPHeader, in.Timestamp)
		events, err := channel.SendGridEvents(s.SendGridWebhookKey, header, in.RawBody, s.now())
		if errors.Is(err, channel.ErrSignature) {
			s.log.WarnContext(ctx, "webhook refused", "provider", "sendgrid", "client", clientOf(ctx), "error", err)
			return nil, &problem{
				Title: http.StatusText(http.StatusForbidden), Status: http.StatusForbidden,
				Detail: err.Error(), Code: "bad_signature",
			}
		}
		if err != nil {
			return nil, s.fail(&notify.Error{Code: notify.CodeInvalid, Detail: err.Error()})
		}
		if err := s.learn(ctx, events); err != nil {
			return nil, s.fail(err)
		}
		return nil, nil
	})
	// A body that is read as it came is described as text.
	posted := api.OpenAPI().Paths[operation.Path].Post.RequestBody.Content["application/json"]
	posted.Schema = &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}
}

// learn stores events and brings up to date the deliveries that they are about,
// then their notifications. All of it may be done again: whoever gets an error
// sends the same events again.
func (s *Server) learn(ctx context.Context, events []notify.Event) error {
	byDelivery := map[string][]notify.Event{}
	for _, e := range events {
		byDelivery[e.DeliveryID] = append(byDelivery[e.DeliveryID], e)
	}
	maps.DeleteFunc(byDelivery, func(id string, _ []notify.Event) bool { return uuid.Validate(id) != nil })
	var mu sync.Mutex
	var notifications []string
	var failures []error
	var group errgroup.Group // one that fails does not stop the others
	group.SetLimit(webhookConcurrency)
	for deliveryID, events := range byDelivery {
		group.Go(func() error {
			notificationID, err := s.learnOf(ctx, deliveryID, events)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, err)
			}
			if notificationID != "" {
				notifications = append(notifications, notificationID)
			}
			return nil
		})
	}
	_ = group.Wait() // no function of the group fails
	slices.Sort(notifications)
	ctx, cancel := context.WithTimeout(ctx, recountTimeout) // a large one may take long
	defer cancel()
	for _, id := range slices.Compact(notifications) {
		switch err := s.Store.Recount(ctx, id); notify.CodeOf(err) {
		case "", notify.CodeNotFound: // its document may have been lost with the API that had accepted it
		case notify.CodeConflict: // it runs, and is counted from its deliveries until it ends
			s.Store.RecountSoon(ctx, id)
		default:
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// learnOf stores the events of one delivery and brings it up to date. It
// answers with the notification that may have to be counted anew. What Belfry
// does not know, such as another one's mail under the same account, is left
// alone.
func (s *Server) learnOf(ctx context.Context, deliveryID string, events []notify.Event) (notificationID string, err error) {
	notificationID, err = s.notificationOf(ctx, deliveryID, events[0].NotificationID)
	if notify.CodeOf(err) == notify.CodeNotFound {
		s.log.DebugContext(ctx, "event of an unknown delivery", "delivery", deliveryID)
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, e := range events {
		e.NotificationID = notificationID
		if err := s.Store.InsertEvent(ctx, &e); err != nil && notify.CodeOf(err) != notify.CodeConflict {
			return "", err
		}
	}
	d, err := s.Store.Learn(ctx, deliveryID)
	if notify.CodeOf(err) == notify.CodeNotFound {
		// Its sender is about to record it. Asked to, the provider comes again.
		return "", &notify.Error{Code: notify.CodeUnavailable, Detail: "an event came before its delivery was recorded", Err: err}
	}
	if err != nil {
		return "", err
	}
	s.log.DebugContext(ctx, "delivery confirmed", "notification", notificationID, "delivery", deliveryID,
		"channel", d.Channel, "state", d.State)
	return notificationID, nil
}

// notificationOf finds the notification of a delivery that has ended or has a
// claim of its own. One that is in a chunk with others is of the notification
// that it is said to be of, if there is that.
func (s *Server) notificationOf(ctx context.Context, deliveryID, said string) (string, error) {
	ended, err := s.Store.Delivery(ctx, deliveryID)
	if err == nil {
		return ended.NotificationID, nil
	}
	if notify.CodeOf(err) != notify.CodeNotFound {
		return "", err
	}
	claim, err := s.Store.Claim(ctx, notify.ClaimID(deliveryID, 1))
	if err == nil {
		return claim.NotificationID, nil
	}
	if notify.CodeOf(err) != notify.CodeNotFound || said == "" {
		return "", err
	}
	if _, err = s.Store.Accepted(ctx, said); err != nil {
		return "", err
	}
	return said, nil
}
