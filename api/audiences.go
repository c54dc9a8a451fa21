package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/httpserver"
	"github.com/belfry-notify/belfry/internal/notify"
)

const audiencesPath = "/v1/audiences"

// audienceFormats read the bodies that an audience may come in.
var audienceFormats = map[string]func(io.Reader) iter.Seq2[audience.Line, error]{
	"application/x-ndjson": audience.NDJSON,
	"text/csv":             audience.CSV,
}

// An audienceInput leaves the body to be read while it comes: huma would want
// all of it first.
type audienceInput struct {
	mediaType string
	upload    upload
	answer    *http.ResponseController
}

// Resolve gets hold of the body.
func (in *audienceInput) Resolve(ctx huma.Context) []error {
	r, w := humachi.Unwrap(ctx)
	in.mediaType, _, _ = mime.ParseMediaType(r.Header.Get("Content-Type"))
	in.answer = http.NewResponseController(w)
	in.upload = upload{body: r.Body, setDeadline: in.answer.SetReadDeadline}
	return nil
}

var _ huma.Resolver = (*audienceInput)(nil)

// audienceView is an audience as callers see it.
type audienceView struct {
	ID         string    `json:"id" format:"uuid"`
	Total      int       `json:"total" doc:"Who is kept"`
	Duplicates int       `json:"duplicates" doc:"Who was named again: the same user_id, or the same email whatever its case"`
	CreatedAt  time.Time `json:"created_at"`
}

func viewAudience(a *audience.Audience) audienceView {
	return audienceView{ID: a.ID, Total: a.Total, Duplicates: a.Duplicates, CreatedAt: a.CreatedAt.UTC()}
}

type audienceOutput struct{ Body audienceView }

type audienceCreated struct {
	Location string `header:"Location"`
	Body     audienceView
}

// AudienceID is the audience that a path names.
type AudienceID struct {
	ID string `path:"id" format:"uuid"`
}

func (s *Server) audienceRoutes(api huma.API) {
	create := route(http.MethodPost, audiencesPath, "create-audience", "Upload a recipient list of any length", http.StatusCreated,
		http.StatusRequestTimeout, http.StatusUnsupportedMediaType, http.StatusTooManyRequests)
	create.Description = "The body is read while it comes. A line that is wrong refuses all of it, and is named."
	create.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/x-ndjson": {
			Schema:  &huma.Schema{Type: huma.TypeString, Description: "A recipient a line, with exactly one of user_id and email, and with email optionally a name"},
			Example: `{"user_id": "4518e644-1ff3-4003-a14e-99dfe3fdd7ab"}` + "\n" + `{"email": "bob@example.com", "name": "Bob"}` + "\n",
		},
		"text/csv": {
			Schema:  &huma.Schema{Type: huma.TypeString, Description: "The first line names the columns: user_id or email, and optionally name"},
			Example: "email,name\nbob@example.com,Bob\n",
		},
	}}
	huma.Register(api, create, s.createAudience)
	huma.Register(api, route(http.MethodGet, audiencesPath+"/{id}", "get-audience", "Read an audience", http.StatusOK, http.StatusNotFound),
		func(ctx context.Context, in *AudienceID) (*audienceOutput, error) {
			a, err := s.Store.Audience(ctx, in.ID, s.now())
			if err != nil {
				return nil, s.fail(err)
			}
			return &audienceOutput{Body: viewAudience(a)}, nil
		})
	huma.Register(api, route(http.MethodDelete, audiencesPath+"/{id}", "delete-audience", "Delete an audience and who is in it", http.StatusNoContent, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *AudienceID) (*struct{}, error) {
			told, err := s.Store.TellsAudience(ctx, in.ID)
			if err == nil && told != "" {
				err = &notify.Error{Code: notify.CodeConflict, Detail: "notification " + told + " has not ended, and tells this audience: cancel it first"}
			}
			if err != nil {
				return nil, s.fail(err)
			}
			if err := s.Store.DeleteAudience(ctx, in.ID, s.now()); err != nil {
				return nil, s.fail(err)
			}
			return nil, nil
		})
}

func (s *Server) createAudience(ctx context.Context, in *audienceInput) (*audienceCreated, error) {
	lines, known := audienceFormats[in.mediaType]
	if !known {
		return nil, newProblem(http.StatusUnsupportedMediaType,
			fmt.Sprintf("the body must be application/x-ndjson or text/csv, not %.64q", in.mediaType))
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		return nil, newProblem(http.StatusTooManyRequests, fmt.Sprintf("%d uploads are under way, which is the most there may be: try again later", maxUploads))
	}
	in.upload.now = s.Now
	a, err := s.keepAudience(ctx, lines(&in.upload))
	if err != nil {
		in.upload.drain()
	}
	// The server's own deadline may have passed long ago.
	_ = in.answer.SetWriteDeadline(s.Now().Add(httpserver.WriteTimeout))
	var wrong *audience.LineError
	switch {
	case errors.Is(in.upload.err, errStalled):
		return nil, newProblem(http.StatusRequestTimeout, in.upload.err.Error())
	case err != nil && in.upload.broke():
		return nil, newProblem(http.StatusUnprocessableEntity, "the upload broke off")
	case errors.As(err, &wrong):
		return nil, s.fail(&notify.Error{Code: notify.CodeInvalid, Detail: wrong.Error(), Fields: []notify.FieldError{{
			Location: fmt.Sprintf("body, line %d", wrong.Line), Message: wrong.Problem,
		}}})
	case err != nil:
		return nil, s.fail(err)
	}
	return &audienceCreated{Location: audiencesPath + "/" + a.ID, Body: viewAudience(a)}, nil
}

// keepAudience stores the recipients of all lines, or of none.
func (s *Server) keepAudience(ctx context.Context, lines iter.Seq2[audience.Line, error]) (a *audience.Audience, err error) {
	spool, err := audience.NewSpool()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	for line, err := range lines {
		if err != nil {
			return nil, err
		}
		if fault := line.Recipient.Fault(); fault != nil {
			problem := fault.Message
			if fault.Location != "" {
				problem = fault.Location + ": " + problem
			}
			return nil, &audience.LineError{Line: line.Number, Problem: problem}
		}
		if err := spool.Add(line.Recipient); err != nil {
			return nil, err
		}
	}
	total, duplicates, err := spool.Finish()
	if err != nil {
		return nil, err
	}
	if total == 0 {
		return nil, &notify.Error{Code: notify.CodeInvalid, Detail: "there is nobody in the audience"}
	}
	now := s.now()
	a = &audience.Audience{
		ID: newID(), Total: total, Duplicates: duplicates, Pages: notify.Pages(total),
		CreatedAt: now, ExpiresAt: now.Add(cmp.Or(s.AudienceRetention, audience.DefaultRetention)),
	}
	return a, s.Store.InsertAudience(ctx, a, spool.Pages())
}
