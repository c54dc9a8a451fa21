package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/workflows"
)

// ann is a user of the sample users.
const ann = "4518e644-1ff3-4003-a14e-99dfe3fdd7ab"

func TestAFirstNotification(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	domain := newDomain()
	secret := "Solaris " + domain // is in the content, and must not be in the history
	response := b.do(http.MethodPost, "/v1/notifications", http.StatusAccepted, map[string]any{
		"template": "welcome",
		"to":       []map[string]any{{"user_id": ann}, {"email": "bob@" + domain, "name": "Bob"}},
		"data":     map[string]any{"film": secret},
		"tags":     []string{"onboarding"},
		"metadata": map[string]string{"order.id": "17"},
	}, nil)
	id := strings.TrimPrefix(response.Header.Get("Location"), "/v1/notifications/")

	n := b.wait(id)
	require.Equal(t, notify.StatusDone, n.Status)
	require.Equal(t, notify.Counts{Total: 2, Sent: 2}, n.Counts)
	require.Equal(t, &notify.TemplateRef{Name: "welcome", Version: 1}, n.Template)
	require.NotNil(t, n.FinishedAt)

	t.Run("the mails are there, to the address that the idp knows", func(t *testing.T) {
		found := mails(t, domain)
		require.Len(t, found, 1)
		require.Equal(t, "Welcome, Bob", found[0].Subject)
		var full mail
		readJSON(t, catcher(t)+"/messages/"+found[0].ID, &full)
		require.Contains(t, full.HTML, "<b>"+secret+"</b>")
		require.Contains(t, full.Text, secret, "made from the HTML")
		require.Equal(t, []string{"auto-generated"}, full.Headers["Auto-Submitted"])
		require.Equal(t, notify.DeliveryID(id, notify.ChannelEmail, notify.Recipient{Email: "bob@" + domain})+"@example.org", full.MessageID)
	})
	t.Run("the history shows them with content", func(t *testing.T) {
		var history list[delivery]
		b.do(http.MethodGet, "/v1/users/"+ann+"/notifications", http.StatusOK, nil, &history)
		require.Len(t, history.Items, 1)
		d := history.Items[0]
		require.Equal(t, notify.StateSent, d.State)
		require.Equal(t, "ann@example.com", d.Address)
		require.Equal(t, "Welcome, Ann", d.Content.Subject)
		require.Contains(t, d.Content.HTML, secret)
		var one delivery
		b.do(http.MethodGet, "/v1/deliveries/"+d.ID, http.StatusOK, nil, &one)
		require.Equal(t, d, one)
		require.Len(t, b.deliveries(id), 2)
		var found list[standing]
		b.do(http.MethodGet, "/v1/notifications?tag=onboarding&status=done&template=welcome", http.StatusOK, nil, &found)
		require.Len(t, found.Items, 1)
	})
	t.Run("Temporal shows it, briefly and without content", func(t *testing.T) {
		b.eventually("it has completed", func() bool { return completed(t, b, id) })
		c := dialTemporal(t, b.variables["TEMPORAL_NAMESPACE"])
		description, err := c.DescribeWorkflow(t.Context(), "notification/"+id, "")
		require.NoError(t, err)
		require.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, description.Status)
		summary, err := description.GetStaticSummary()
		require.NoError(t, err)
		require.Equal(t, "welcome@1 to 2 recipients by email", summary)
		events := historyOf(t, b, id)
		require.Len(t, events, 6, "started; a task scheduled, started, completed; one local activity; completed")
		for _, event := range events {
			for _, private := range []string{secret, "Your seat", "bob@", ann} {
				require.NotContains(t, event.String(), private)
			}
		}
	})
}

// completed says whether Temporal has seen the end of a notification's workflow,
// which comes after the end of its record.
func completed(t *testing.T, b *belfry, id string) bool {
	t.Helper()
	events := historyOf(t, b, id)
	return events[len(events)-1].GetEventType() == enums.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
}

func historyOf(t *testing.T, b *belfry, id string) []*history.HistoryEvent {
	t.Helper()
	c := dialTemporal(t, b.variables["TEMPORAL_NAMESPACE"])
	iterator := c.GetWorkflowHistory(t.Context(), "notification/"+id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var events []*history.HistoryEvent
	for iterator.HasNext() {
		event, err := iterator.Next()
		require.NoError(t, err)
		events = append(events, event)
	}
	return events
}

func TestSearchAttributesAreSetWhereTheServerHasThem(t *testing.T) {
	t.Parallel()
	// The stack's default namespace has them; a namespace of a test has not.
	b := newBelfry(t)
	delete(b.variables, "TEMPORAL_NAMESPACE")
	b.run("all")
	b.ready()
	tag := newDomain()
	id := b.send(map[string]any{
		"template": "welcome", "to": []map[string]any{{"email": "a@" + tag}}, "data": map[string]any{"film": "x"}, "tags": []string{tag},
	})
	b.wait(id)

	c := dialTemporal(t, "")
	description, err := c.DescribeWorkflow(t.Context(), "notification/"+id, "")
	require.NoError(t, err)
	attributes := description.TypedSearchAttributes
	template, _ := attributes.GetKeyword(workflows.TemplateAttribute)
	channels, _ := attributes.GetKeywordList(workflows.ChannelAttribute)
	tags, _ := attributes.GetKeywordList(workflows.TagsAttribute)
	require.Equal(t, "welcome", template)
	require.Equal(t, []string{"email"}, channels)
	require.Equal(t, []string{tag}, tags)
}

func TestFiftyNotificationsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBelfry(t)
	p := b.run("all")
	b.ready()
	domain := newDomain()
	const notifications, concurrency = 50, 10
	work := make(chan int)
	var group sync.WaitGroup
	var mu sync.Mutex
	var ids []string
	for range concurrency {
		group.Go(func() {
			for i := range work {
				to := []map[string]any{}
				for j := range 3 {
					to = append(to, map[string]any{"email": fmt.Sprintf("u%d-%d@%s", i, j, domain)})
				}
				id := b.send(map[string]any{"template": "welcome", "to": to, "data": map[string]any{"film": "Stalker"}})
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	for i := range notifications {
		work <- i
	}
	close(work)
	group.Wait()

	require.Len(t, ids, notifications)
	for _, id := range ids {
		require.Equal(t, notify.Counts{Total: 3, Sent: 3}, b.wait(id).Counts)
	}
	requireOneMailEach(t, domain, 3*notifications)
	require.NotContains(t, p.log.String(), "level=ERROR")
}

// requireOneMailEach says that n addresses of a domain got one mail each.
func requireOneMailEach(t *testing.T, domain string, n int) {
	t.Helper()
	seen := map[string]int{}
	for _, m := range mails(t, domain) {
		seen[m.To[0]]++
	}
	require.Len(t, seen, n)
	for address, times := range seen {
		require.Equal(t, 1, times, address)
	}
}

func TestAThousandRecipientsOfFreeFormContent(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	domain := newDomain()
	to := []map[string]any{{"user_id": "nobody"}, {"email": "u1@" + domain}} // one unknown, one named twice
	for i := range 998 {
		to = append(to, map[string]any{"email": fmt.Sprintf("u%d@%s", i, domain)})
	}
	id := b.send(map[string]any{
		"content": map[string]any{"email": map[string]any{"subject": "News for {{ recipient.email }}", "html": "<p>News</p>", "text": "News"}},
		"to":      to,
	})

	n := b.wait(id)
	require.Equal(t, notify.StatusDone, n.Status)
	require.Equal(t, notify.Counts{Total: 999, Sent: 998, Failed: 1}, n.Counts)
	requireOneMailEach(t, domain, 998)
	deliveries := b.deliveries(id)
	require.Len(t, deliveries, 999)
	var failed list[delivery]
	b.do(http.MethodGet, "/v1/notifications/"+id+"/deliveries?state=failed", http.StatusOK, nil, &failed)
	require.Len(t, failed.Items, 1)
	require.Equal(t, notify.ReasonUserNotFound, failed.Items[0].Reason)
	require.Equal(t, "nobody", failed.Items[0].UserID)
}

func TestOneRecipientsTroubleIsNobodyElses(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	domain := newDomain()
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, map[string]any{"name": "picky", "channels": map[string]any{"email": map[string]any{
		"subject": "Hello {{ recipient.name }}", "html": "<p>{% if recipient.name == 'Bad' %}{{ missing }}{% endif %}Hi</p>",
	}}}, nil)
	id := b.send(map[string]any{"template": "picky", "to": []map[string]any{
		{"email": "good@" + domain, "name": "Good"}, {"email": "bad@" + domain, "name": "Bad"}, {"user_id": "nobody"},
	}})

	n := b.wait(id)
	require.Equal(t, notify.StatusDone, n.Status)
	require.Equal(t, notify.Counts{Total: 3, Sent: 1, Failed: 2}, n.Counts)
	for _, d := range b.deliveries(id) {
		switch {
		case d.UserID == "nobody":
			require.Equal(t, notify.ReasonUserNotFound, d.Reason)
		case strings.HasPrefix(d.Address, "bad@"):
			require.Equal(t, notify.ReasonBadContent, d.Reason)
			require.Contains(t, d.Attempts[0].Error, "missing")
		default:
			require.Equal(t, notify.StateSent, d.State)
		}
	}
	require.Len(t, mails(t, domain), 1)
}

func TestANotificationNobodyGotHasFailed(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	id := b.send(map[string]any{"template": "welcome", "to": []map[string]any{{"user_id": "nobody"}}, "data": map[string]any{"film": "x"}})
	require.Equal(t, notify.StatusFailed, b.wait(id).Status)
}

func TestATemplateIsPinned(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	domain := newDomain()
	next := map[string]any{"channels": map[string]any{"email": map[string]any{"subject": "Second", "html": "<p>2</p>"}}}
	b.do(http.MethodPut, "/v1/templates/welcome", http.StatusOK, next, nil)
	newest := b.send(map[string]any{"template": "welcome", "to": []map[string]any{{"email": "new@" + domain}}})
	pinned := b.send(map[string]any{"template": "welcome@1", "to": []map[string]any{{"email": "old@" + domain}}, "data": map[string]any{"film": "x"}})

	require.Equal(t, 2, b.wait(newest).Template.Version)
	require.Equal(t, 1, b.wait(pinned).Template.Version)
	subjects := map[string]string{}
	for _, m := range mails(t, domain) {
		subjects[m.To[0]] = m.Subject
	}
	require.Equal(t, map[string]string{"new@" + domain: "Second", "old@" + domain: "Welcome, old@" + domain}, subjects)

	b.do(http.MethodDelete, "/v1/templates/welcome", http.StatusNoContent, nil, nil)
	var problem struct{ Code notify.Code }
	b.do(http.MethodPost, "/v1/notifications", http.StatusNotFound,
		map[string]any{"template": "welcome", "to": []map[string]any{{"email": "x@" + domain}}}, &problem)
	require.Equal(t, notify.CodeTemplateNotFound, problem.Code)
}

func TestWhatWaitsIsShownAsQueued(t *testing.T) {
	t.Parallel()
	b := newBelfry(t).with("BELFRY_IDP_ADDR", freeAddr(t)) // nobody is there
	b.run("all")
	b.eventually("up", func() bool { return b.status(http.MethodPost, "/v1/templates", welcome) == http.StatusCreated })
	domain := newDomain()
	id := b.send(map[string]any{
		"template": "welcome", "to": []map[string]any{{"user_id": ann}, {"email": "bob@" + domain}}, "data": map[string]any{"film": "x"},
	})
	b.eventually("bob has his mail", func() bool { return len(mails(t, domain)) == 1 })

	b.eventually("one is sent, one waits", func() bool {
		var n standing
		b.do(http.MethodGet, "/v1/notifications/"+id, http.StatusOK, nil, &n)
		return n.Status == notify.StatusSending && n.Counts == notify.Counts{Total: 2, Queued: 1, Sent: 1}
	})
	var queued list[delivery]
	b.do(http.MethodGet, "/v1/notifications/"+id+"/deliveries?state=queued", http.StatusOK, nil, &queued)
	require.Len(t, queued.Items, 1)
	require.Equal(t, ann, queued.Items[0].UserID)

	idp := start(t, nil, "idp", "--addr", b.variables["BELFRY_IDP_ADDR"], "--users", "../dev/users.yaml")
	require.Equal(t, notify.Counts{Total: 2, Sent: 2}, b.wait(id).Counts)
	require.Len(t, mails(t, domain), 1)
	idp.stop()
	require.NoError(t, idp.err)
}

func TestSIGTERMEndsEachRoleCleanly(t *testing.T) {
	t.Parallel()
	b := newBelfry(t)
	for role, up := range map[string]string{"api": "listening", "worker": "working", "starter": "events are off", "all": "working"} {
		p := b.run(role)
		b.eventually(role+" is up", func() bool { return strings.Contains(p.log.String(), up) })
		began := time.Now()
		p.stop()
		require.NoError(t, p.err, role)
		require.Less(t, time.Since(began), 15*time.Second+busy, role)
	}
}

func TestAWrongVariableStopsTheStartWithItsName(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"BELFRY_HTTP_ADDR": "nowhere", "BELFRY_SMTP_URL": "http://x", "BELFRY_MONGO_URI": "postgres://x", "BELFRY_LOG_LEVEL": "loud",
		"BELFRY_EMAIL_FROM": "not an address", "BELFRY_EMAIL_PROVIDER": "pigeon", "BELFRY_AMQP_URL": "x",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		command := exec.CommandContext(ctx, binary, "all")
		command.Env = append(command.Environ(), name+"="+value)
		output, err := command.CombinedOutput()
		cancel()
		require.Error(t, err, name)
		require.Contains(t, string(output), name)
		require.Equal(t, 1, strings.Count(string(output), "\n"), "one line: %s", output)
	}
}
