package main

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/belfry-notify/belfry/internal/access"
)

type keyCommand struct {
	Create keyCreateCommand `cmd:"" help:"Create an API key, and print it: nobody can tell it later."`
	List   keyListCommand   `cmd:"" help:"List the API keys, the oldest first."`
	Revoke keyRevokeCommand `cmd:"" help:"Revoke an API key."`
}

// A keyView is an API key as it is shown, without its secret.
type keyView struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Scopes     []string   `json:"scopes"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
}

// A keyOrder is what a new key is to be.
type keyOrder struct {
	Name      string         `json:"name"`
	Scopes    []access.Scope `json:"scopes"`
	ExpiresAt *time.Time     `json:"expires_at,omitempty"`
}

// A keyBook is where API keys are kept: behind a server, or in the database.
type keyBook interface {
	create(ctx context.Context, order keyOrder) (made shown[keyView], text string, err error)
	list(ctx context.Context) ([]shown[keyView], error)
	revoke(ctx context.Context, id string) error
	close(ctx context.Context) error
}

// keyPlace says where the keys are kept. Whoever names neither a server nor a
// key means the database: so the first key is made.
type keyPlace struct {
	output
	Server string `env:"BELFRY_SERVER" placeholder:"URL" help:"Where Belfry's API is. Without --server and --key, the keys of the database in BELFRY_MONGO_URI are meant."`
	Key    string `env:"BELFRY_KEY" placeholder:"KEY" help:"API key or token with the scope admin."`
	Direct bool   `help:"The keys of the database in BELFRY_MONGO_URI, whatever server and key are set."`
}

func (p keyPlace) open(env *environment) (keyBook, error) {
	if p.Direct || p.Server == "" && p.Key == "" {
		return openKeyDatabase(os.LookupEnv)
	}
	client, err := server{output: p.output, Server: p.Server, Key: p.Key}.client(env)
	return keyServer{client}, err
}

// with opens the keys, does something with them, and closes them.
func (p keyPlace) with(ctx context.Context, env *environment, do func(keyBook) error) error {
	book, err := p.open(env)
	if err != nil {
		return err
	}
	err = do(book)
	if closed := book.close(context.WithoutCancel(ctx)); err == nil {
		err = closed
	}
	return err
}

type keyCreateCommand struct {
	keyPlace
	Name    string   `required:"" help:"Name for people to know it by." placeholder:"NAME"`
	Scope   []string `required:"" sep:"," enum:"send,read,templates,schedules,triggers,inbox,admin" help:"What it gives the right to: send, read, templates, schedules, triggers, inbox, or admin, which is all of them; repeat for several." placeholder:"SCOPE"`
	Expires string   `help:"When it ends: a time such as 2027-01-01T00:00:00Z, or a duration from now such as 720h. It does not by default." placeholder:"WHEN"`
}

// Run creates a key and prints it, alone.
func (c *keyCreateCommand) Run(ctx context.Context, env *environment) error {
	order := keyOrder{Name: strings.TrimSpace(c.Name)}
	if n := len([]rune(order.Name)); n == 0 || n > 64 || printableLine(order.Name) != order.Name {
		return usagef("--name: needs 1 to 64 characters, on one line")
	}
	for _, scope := range c.Scope {
		order.Scopes = append(order.Scopes, access.Scope(scope))
	}
	if c.Expires != "" {
		expires, err := momentAfter(time.Now(), c.Expires)
		if err != nil {
			return err
		}
		order.ExpiresAt = &expires
	}
	return c.with(ctx, env, func(keys keyBook) error {
		made, text, err := keys.create(ctx, order)
		if err != nil {
			return err
		}
		if c.asJSON() {
			return env.printValue(struct {
				keyView
				Key string `json:"key"`
			}{made.is, text})
		}
		return env.print(text + "\n")
	})
}

// momentAfter reads a time, or a duration from now on.
func momentAfter(now time.Time, text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		var d time.Duration
		if d, err = time.ParseDuration(text); err == nil {
			at = now.Add(d)
		}
	}
	if err != nil || !at.After(now) {
		return time.Time{}, usagef("--expires: needs a time to come such as 2027-01-01T00:00:00Z, or a duration such as 720h")
	}
	return at.UTC().Truncate(time.Millisecond), nil
}

type keyListCommand struct{ keyPlace }

// Run lists the keys.
func (c *keyListCommand) Run(ctx context.Context, env *environment) error {
	return c.with(ctx, env, func(keys keyBook) error {
		found, err := keys.list(ctx)
		if err != nil {
			return err
		}
		if c.asJSON() {
			return env.printValue(struct {
				Items []shown[keyView] `json:"items"`
			}{found})
		}
		if len(found) == 0 {
			return nil
		}
		rows := [][]string{{"ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "LAST USED"}}
		for _, k := range found {
			rows = append(rows, []string{
				k.is.ID, k.is.Name, strings.Join(k.is.Scopes, ", "), when(k.is.CreatedAt), whenOr(k.is.ExpiresAt), whenOr(k.is.LastUsedAt),
			})
		}
		return env.print(aligned(rows))
	})
}

// whenOr is a time for people, never where there is none.
func whenOr(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return when(*t)
}

type keyRevokeCommand struct {
	keyPlace
	ID string `arg:"" help:"Id of the key: the part after belfry_ and before the next _."`
}

// Run revokes a key.
func (c *keyRevokeCommand) Run(ctx context.Context, env *environment) error {
	return c.with(ctx, env, func(keys keyBook) error { return keys.revoke(ctx, c.ID) })
}

// A keyServer keeps keys behind Belfry's API.
type keyServer struct{ client *apiClient }

func (k keyServer) create(ctx context.Context, order keyOrder) (made shown[keyView], text string, err error) {
	got, err := k.client.ask(ctx, http.MethodPost, "/v1/keys", nil, order)
	if err != nil {
		return made, "", err
	}
	var secret struct {
		Key string `json:"key"`
	}
	if err := got.decode(&secret); err != nil {
		return made, "", err
	}
	return made, secret.Key, got.decode(&made)
}

func (k keyServer) list(ctx context.Context) ([]shown[keyView], error) {
	return list[keyView](ctx, k.client, "/v1/keys", nil)
}

func (k keyServer) revoke(ctx context.Context, id string) error {
	_, err := k.client.ask(ctx, http.MethodDelete, "/v1/keys/"+url.PathEscape(id), nil, nil)
	return err
}

func (keyServer) close(context.Context) error { return nil }
