package api

import (
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/internal/intake"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A RequestReader reads the body of a POST /v1/notifications that came another
// way, and refuses what the API refuses.
type RequestReader struct {
	templates Templates
	providers []string
	now       func() time.Time
	schemas   huma.Registry
	schema    *huma.Schema
}

// NewRequestReader makes one. Providers are the names of those that are
// configured.
func NewRequestReader(templates Templates, providers []string, now func() time.Time) *RequestReader {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registerOutput(schemas)
	return &RequestReader{
		templates: templates, providers: providers, now: now,
		schemas: schemas, schema: schemas.Schema(reflect.TypeFor[notificationRequest](), true, ""),
	}
}

// Read is the request in a body that comes now. The error is notify.CodeInvalid
// with everything that is wrong.
func (r *RequestReader) Read(body []byte) (*notify.Request, error) {
	var value any
	if err := strictJSON().Unmarshal(body, &value); err != nil {
		return nil, refuse(err)
	}
	var found huma.ValidateResult
	huma.Validate(r.schemas, r.schema, huma.NewPathBuffer([]byte("body"), len("body")), huma.ModeWriteToServer, value, &found)
	var asked notificationRequest
	if err := strictJSON().Unmarshal(body, &asked); err != nil && found.Errors == nil {
		found.Errors = append(found.Errors, err)
	}
	found.Errors = append(found.Errors, asked.check(r.templates, "body")...)
	if len(found.Errors) > 0 {
		return nil, refuse(found.Errors...)
	}
	now := intake.Moment(r.now())
	if err := asked.checkNow(r.providers, now); err != nil {
		return nil, err
	}
	return asked.request(now)
}

// refuse is the error about what huma and the checks found.
func refuse(errs ...error) error {
	refusal := &notify.Error{Code: notify.CodeInvalid, Detail: "not a valid notification"}
	var p *problem
	if errors.As(newProblem(http.StatusUnprocessableEntity, "", errs...), &p) {
		refusal.Fields = p.Errors
	}
	return refusal
}
