package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A document is what a generator reads of an OpenAPI document.
type document struct {
	Paths      map[string]map[string]*operation `json:"paths"`
	Components struct {
		Schemas map[string]*schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	OperationID string `json:"operationId"`
	Parameters  []struct {
		Name   string  `json:"name"`
		In     string  `json:"in"`
		Schema *schema `json:"schema"`
	} `json:"parameters"`
	RequestBody *struct {
		Content map[string]struct {
			Schema *schema `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]any `json:"responses"`
}

type schema struct {
	Ref        string             `json:"$ref"`
	Type       any                `json:"type"` // a name, or a list of them
	Format     string             `json:"format"`
	Pattern    string             `json:"pattern"`
	Enum       []any              `json:"enum"`
	Examples   []any              `json:"examples"`
	Items      *schema            `json:"items"`
	Properties map[string]*schema `json:"properties"`
	Required   []string           `json:"required"`
	OneOf      []*schema          `json:"oneOf"`
	MaxLength  *int               `json:"maxLength"`
	MaxItems   *int               `json:"maxItems"`
	Minimum    *float64           `json:"minimum"`
	Maximum    *float64           `json:"maximum"`
}

// A generator makes requests of an OpenAPI document: some as it describes them,
// most with something wrong.
type generator struct {
	*rand.Rand
	document   *document
	operations []string // "METHOD /path", sorted
	known      []string // ids that there may be something under
}

func newGenerator(seed uint64, text []byte) (*generator, error) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, seed)), document: &document{}}
	if err := json.Unmarshal(text, g.document); err != nil {
		return nil, err
	}
	for path, methods := range g.document.Paths {
		for method := range methods {
			g.operations = append(g.operations, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(g.operations)
	return g, nil
}

// A generated request. Wrong says what was made wrong with it, "" where nothing
// was.
type generated struct {
	operation   *operation
	path        string // as the document has it
	method      string
	target      string // path and query
	contentType string
	header      map[string]string
	body        string
	wrong       string
}

func (r *generated) String() string {
	return fmt.Sprintf("%s %.200s (%s; %s) %.400q", r.method, r.target, r.wrong, r.contentType, r.body)
}

// scans are the operations that look through all that is stored where the
// database is the local stack's, which has no indexes for them. Few of them are
// good requests, or else the database would do nothing else.
var scans = []string{
	"GET /v1/notifications", "GET /v1/notifications/{id}/deliveries", "GET /v1/deliveries", "GET /v1/users/{user_id}/notifications", "DELETE /v1/audiences/{id}",
}

// next makes a request.
func (g *generator) next() *generated {
	method, path, _ := strings.Cut(g.operations[g.IntN(len(g.operations))], " ")
	of := g.document.Paths[path][strings.ToLower(method)]
	r := &generated{operation: of, path: path, method: method, header: map[string]string{}}
	g.parameters(r, path)
	if of.RequestBody != nil {
		r.contentType = pick(g, slices.Sorted(maps.Keys(of.RequestBody.Content))...)
		g.fill(r, of.RequestBody.Content[r.contentType].Schema)
	}
	if slices.Contains(scans, method+" "+path) && g.IntN(25) > 0 {
		r.target, r.wrong = strings.Replace(r.target, "?", "?limit=0&", 1), "a query that is refused"
		if !strings.Contains(r.target, "?") {
			r.target += "?limit=0"
		}
	}
	if g.IntN(20) == 0 {
		r.method, r.wrong = pick(g, "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"), "method"
	}
	return r
}

// parameters fills in path, query and headers, each odd one time in eight.
func (g *generator) parameters(r *generated, path string) {
	var query []string
	for _, p := range r.operation.Parameters {
		odd := g.IntN(8) == 0
		if p.In != "path" && !odd && g.IntN(2) == 0 {
			continue
		}
		text := fmt.Sprint(g.value(p.Schema, 0))
		if odd {
			text = g.oddText()
			r.wrong = "parameter " + p.Name
		}
		switch p.In {
		case "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(text))
		case "query":
			query = append(query, url.QueryEscape(p.Name)+"="+url.QueryEscape(text))
			if odd && g.IntN(2) == 0 {
				query = append(query, query[len(query)-1])
			}
		case "header":
			r.header[p.Name] = strings.Map(printable, text)
		}
	}
	if g.IntN(30) == 0 {
		query, r.wrong = append(query, pick(g, "x=1", "limit=1&limit=2", "%zz", "=", "&&&", "cursor="+strings.Repeat("A", 4000))), "query"
	}
	r.target = path
	if len(query) > 0 {
		r.target += "?" + strings.Join(query, "&")
	}
}

// printable is a character that a header may have.
func printable(c rune) rune {
	if c < ' ' || c > '~' {
		return -1
	}
	return c
}

// fill makes a body: as the schema has it, with something wrong in it, or none
// at all.
func (g *generator) fill(r *generated, of *schema) {
	if strings.HasPrefix(r.contentType, "text/") || strings.Contains(r.contentType, "ndjson") {
		r.body = pick(g, "email\na@example.com\n", "user_id\nx\n", "email,name\n\"a", g.oddText(), `{"email":"a@example.com"}`+"\n", `{"email":`, "")
		r.wrong = "lines"
		return
	}
	value := g.value(of, 0)
	if g.IntN(5) > 0 {
		value = g.spoil(value)
		r.wrong = "value"
	}
	text, err := json.Marshal(value)
	if err != nil {
		text = []byte("{}")
	}
	r.body = string(text)
	switch g.IntN(12) {
	case 0:
		r.body, r.wrong = g.breakText(r.body), "JSON"
	case 1:
		r.contentType, r.wrong = pick(g, "text/plain", "", "application/xml", "application/json; charset=latin1", "multipart/form-data", "application/cbor", "Ä"), "content type"
	}
}

// value is one of a schema.
func (g *generator) value(of *schema, depth int) any {
	if of == nil || depth > 8 {
		return map[string]any{}
	}
	if name, found := strings.CutPrefix(of.Ref, "#/components/schemas/"); found {
		return g.value(g.document.Components.Schemas[name], depth+1)
	}
	switch {
	case len(of.Enum) > 0:
		return of.Enum[g.IntN(len(of.Enum))]
	case len(of.OneOf) > 0:
		return g.value(of.OneOf[g.IntN(len(of.OneOf))], depth+1)
	case len(of.Examples) > 0 && g.IntN(2) == 0:
		return of.Examples[0]
	}
	switch typeOf(of) {
	case "object":
		object := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(of.Properties)) { // the same of a seed each time
			if slices.Contains(of.Required, name) || g.IntN(3) == 0 {
				object[name] = g.value(of.Properties[name], depth+1)
			}
		}
		return object
	case "array":
		items := make([]any, 1+g.IntN(3))
		for i := range items {
			items[i] = g.value(of.Items, depth+1)
		}
		return items
	case "integer", "number":
		least, most := 0.0, 100.0
		if of.Minimum != nil {
			least = *of.Minimum
		}
		if of.Maximum != nil {
			most = *of.Maximum
		}
		return int(least) + g.IntN(max(1, int(most-least)))
	case "boolean":
		return g.IntN(2) == 0
	case "string":
		return g.text(of)
	}
	return g.odd()
}

func typeOf(of *schema) string {
	switch t := of.Type.(type) {
	case string:
		return t
	case []any:
		for _, name := range t {
			if name != "null" {
				return fmt.Sprint(name)
			}
		}
	}
	return ""
}

var named = regexp.MustCompile(`^\^\[a-z0-9\]`)

// text is a string of a schema. Names and ids are few, so that there is
// something under some of them.
func (g *generator) text(of *schema) string {
	switch {
	case of.Format == "uuid" && len(g.known) > 0 && g.IntN(2) == 0:
		return pick(g, g.known...)
	case of.Format == "uuid":
		return uuid.UUID(fmt.Appendf(nil, "%016x", g.Uint64())).String()
	case of.Format == "date-time":
		return time.Now().Add(time.Duration(g.IntN(200)-50) * time.Hour).UTC().Format(time.RFC3339)
	case named.MatchString(of.Pattern):
		return pick(g, "welcome", "a", "b.c", "d-e_f", "x1", "none")
	}
	text := pick(g, "welcome", "a@example.com", "Hello {{ film }}", "90m", "Europe/Berlin", "0 9 * * 1-5", "true", "x", "ünïcödé 🦉", "event.data.user_id")
	if of.MaxLength != nil && len(text) > *of.MaxLength {
		text = text[:*of.MaxLength]
	}
	return text
}

// spoil makes one thing wrong, somewhere in a value.
func (g *generator) spoil(value any) any {
	switch v := value.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(v))
		switch choice := g.IntN(6); {
		case choice == 0 || len(names) == 0:
			v[pick(g, "surprise", "", "ID", "recipient", "__proto__", strings.Repeat("k", 300))] = g.odd()
		case choice == 1:
			delete(v, pick(g, names...))
		default:
			name := pick(g, names...)
			v[name] = g.spoil(v[name])
		}
		return v
	case []any:
		switch choice := g.IntN(4); {
		case choice == 0 || len(v) == 0:
			item, times := g.odd(), g.IntN(3000)
			if text, ok := item.(string); ok {
				times = min(times, (4<<20)/max(1, len(text))) // beyond each limit, and no more
			}
			return slices.Repeat([]any{item}, times)
		default:
			i := g.IntN(len(v))
			v[i] = g.spoil(v[i])
			return v
		}
	}
	return g.odd()
}

// odd is a value that nobody expects.
func (g *generator) odd() any {
	switch g.IntN(12) {
	case 0:
		return nil
	case 1:
		return json.Number(pick(g, "1e400", "-0", "1e-400", "123456789012345678901234567890", "0.1", "-1", "9223372036854775808"))
	case 2:
		return g.IntN(2) == 0
	case 3:
		return []any{}
	case 4:
		return map[string]any{}
	case 5:
		return nested(1 + g.IntN(300))
	case 6:
		return strings.Repeat(pick(g, "x", "ü", "{{ x }}", "{% if x %}", "\x00", " "), 1+g.IntN(70_000))
	}
	return g.oddText()
}

func nested(depth int) any {
	var value any = "deep"
	for range depth {
		value = []any{map[string]any{"x": value}}
	}
	return value
}

func (g *generator) oddText() string {
	return pick(g, "", " ", "\x00", "\u202e", "null", "-1", "0", "1e9", "99999999999999999999", "../..", "a/b", "%00", "%", "#", "?", "ünïcödé", "🦉",
		strings.Repeat("x", 65), strings.Repeat("y", 5000), "{{", "{% for i in (1..100000000) %}", "{{ x | append: x }}", "a\r\nBcc: b@example.com", "<script>",
		"$where", `{"$gt":""}`, "2026-13-45T99:99:99Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1000000h", "-5m", "* * * * *", "@every 1ns", "UTC+25",
		"event.data.map(a, a + a)", "true ? 1 : 'x'", "\ufeff", "\xff\xfe", "welcome@0", "welcome@99999999999", "a@b", "@", "a@example.com,b@example.com", "1/s", "0/s", "1e9/s")
}

// breakText makes JSON that is none, or that can be read in two ways.
func (g *generator) breakText(text string) string {
	switch g.IntN(9) {
	case 0:
		return text[:g.IntN(len(text)+1)]
	case 1:
		return text + text
	case 2:
		return text + "x"
	case 3:
		return strings.Repeat("[", 1+g.IntN(50_000))
	case 4:
		return strings.Replace(text, "{", `{"name":1,"name":2,`, 1)
	case 5:
		return strings.Replace(text, `"`, "\"\xff", 1)
	case 6:
		return pick(g, "null", "[]", "17", `"x"`, "true", "{", "}", "NaN", "\x00", "")
	case 7:
		return `{"x":"` + strings.Repeat("x", 1<<20) + `"}`
	}
	at := g.IntN(len(text) + 1)
	return text[:at] + string(rune(g.IntN(256))) + text[at:]
}

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }
