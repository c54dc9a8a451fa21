package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/strictjson"
)

// strictJSON reads and writes JSON. A text that repeats a key, nests too deep,
// holds invalid UTF-8 or goes on after its value is refused; unknown fields
// are huma's to find.
func strictJSON() huma.Format {
	return huma.Format{
		Marshal: func(w io.Writer, v any) error {
			encoder := json.NewEncoder(w)
			encoder.SetEscapeHTML(false)
			return encoder.Encode(v)
		},
		Unmarshal: func(text []byte, v any) error {
			// huma reads a body twice, first into an any: the check once is enough.
			if _, first := v.(*any); first {
				if err := strictjson.Check(text, maxNesting); err != nil {
					return err
				}
			}
			return json.Unmarshal(text, v)
		},
	}
}

// maxNesting is how deep a body may be nested.
const maxNesting = 10_000

// requireJSON refuses a body of another content type before it is read. An
// audience's is not JSON.
func requireJSON(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	if hasBody(r) && r.URL.Path != audiencesPath {
		media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
		if !strings.EqualFold(strings.TrimSpace(media), "application/json") {
			writeProblem(w, newProblem(http.StatusUnsupportedMediaType,
				fmt.Sprintf("the body must be application/json, not %q", media)))
			return
		}
		r.Header.Set("Content-Type", "application/json") // huma knows one spelling
	}
	next(ctx)
}

func hasBody(r *http.Request) bool {
	return r.ContentLength != 0 && (r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch)
}

// writeProblem answers outside of huma.
func writeProblem(w http.ResponseWriter, p huma.StatusError) {
	w.Header().Set("Content-Type", "application/problem+json")
	if h, has := p.(huma.HeadersError); has {
		maps.Copy(w.Header(), h.GetHeaders())
	}
	w.WriteHeader(p.GetStatus())
	_ = json.NewEncoder(w).Encode(p) // the caller is gone if this fails
}

// object is a JSON object that is passed on as it is.
type object struct{ notify.Object }

// Schema is that of any JSON object.
func (object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

var _ huma.SchemaProvider = object{}

// registerOutput makes the schema of a notify type the one of its JSON.
func registerOutput(r huma.Registry) {
	r.RegisterTypeAlias(reflect.TypeFor[notify.Object](), reflect.TypeFor[object]())
}
