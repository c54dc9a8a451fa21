package event

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/strictjson"
)

const structuredEvent = `{"specversion":"1.0","id":"17","source":"/films","type":"film.released","subject":"solaris",
	"time":"2026-12-01T10:00:00.5+01:00","comexampleretry":3,"data":{"film":"Solaris","seats":12345678901234567890}}`

// Each encoding says the same.
func TestEncodings(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 9, 0, 0, 5e8, time.UTC)
	second := at.Truncate(time.Second)
	data := `{"film":"Solaris","seats":12345678901234567890}`
	headers := func(prefix string) amqp.Table {
		return amqp.Table{
			prefix + "specversion": "1.0", prefix + "id": "17", prefix + "source": "/films", prefix + "type": "film.released",
			prefix + "subject": "solaris", prefix + "time": "2026-12-01T09:00:00.5Z", prefix + "retries": int32(3), "other": amqp.Table{},
		}
	}
	both := headers("cloudEvents:")
	for name, value := range headers("cloudEvents_") {
		both[name] = value
	}
	stamped := headers("cloudEvents_")
	stamped["cloudEvents_time"], stamped["cloudEvents_id"] = second, []byte("17")
	want := Event{ID: "17", Source: "/films", Type: "film.released", Subject: "solaris", Time: at, Data: json.RawMessage(data)}
	for name, test := range map[string]struct {
		message amqp.Delivery
		change  func(*Event)
	}{
		"structured":                {message: amqp.Delivery{ContentType: "application/cloudevents+json; charset=UTF-8", Body: []byte(structuredEvent)}},
		"structured, over headers":  {message: amqp.Delivery{ContentType: "Application/CloudEvents+JSON", Headers: amqp.Table{"cloudEvents_id": "18"}, Body: []byte(structuredEvent)}},
		"binary, underscore":        {message: amqp.Delivery{ContentType: "application/json", Headers: headers("cloudEvents_"), Body: []byte(data)}},
		"binary, colon":             {message: amqp.Delivery{Headers: headers("cloudEvents:"), Body: []byte(data)}},
		"binary, both":              {message: amqp.Delivery{ContentType: "application/vnd.film+json", Headers: both, Body: []byte(data), ContentEncoding: "UTF-8"}},
		"binary, AMQP's own types":  {message: amqp.Delivery{Headers: stamped, Body: []byte(data)}, change: func(e *Event) { e.Time = second }},
		"binary, over properties":   {message: amqp.Delivery{Headers: headers("cloudEvents_"), Type: "other", MessageId: "18", Body: []byte(data)}},
		"plain, from its app":       {message: amqp.Delivery{Type: "film.released", MessageId: "17", AppId: "1 app: films", Exchange: "belfry.events", Timestamp: second, Body: []byte(data)}, change: func(e *Event) { e.Source, e.Subject, e.Time = "1 app: films", "", second }},
		"plain, from its exchange":  {message: amqp.Delivery{ContentType: "application/json", Type: "film.released", MessageId: "17", Exchange: "films", Body: []byte(data)}, change: func(e *Event) { e.Source, e.Subject, e.Time = "films", "", time.Time{} }},
		"plain, without data":       {message: amqp.Delivery{Type: "film.released", MessageId: "17", AppId: "/films"}, change: func(e *Event) { e.Subject, e.Time, e.Data = "", time.Time{}, nil }},
		"binary, data that is null": {message: amqp.Delivery{Headers: headers("cloudEvents_"), Body: []byte(" null\n")}, change: func(e *Event) { e.Data = nil }},
		"binary, text":              {message: amqp.Delivery{ContentType: "text/plain", Headers: headers("cloudEvents_"), Body: []byte(`a "film" <ü>`)}, change: func(e *Event) { e.Data = json.RawMessage(`"a \"film\" \u003cü\u003e"`) }},
		"binary, bytes":             {message: amqp.Delivery{ContentType: "image/png", Headers: headers("cloudEvents_"), Body: []byte{0xff, 0, 1}}, change: func(e *Event) { e.Data = json.RawMessage(`"/wAB"`) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := want
			if test.change != nil {
				test.change(&want)
			}
			got, err := Decode(&test.message)
			require.NoError(t, err)
			require.Equal(t, want, *got)
		})
	}
}

func TestDataOfAStructuredEvent(t *testing.T) {
	t.Parallel()
	for fields, want := range map[string]string{
		`"data":null`:     "",
		`"data":[1,null]`: "[1,null]",
		`"data":"text"`:   `"text"`,
		`"data_base64":"eyJhIjoxfQ==","datacontenttype":"application/json"`: `{"a":1}`,
		`"data_base64":"ZsO8cg==","datacontenttype":"text/plain"`:           `"für"`,
		`"data_base64":"/wAB"`:       `"/wAB"`,
		`"data":null,"subject":null`: "",
	} {
		e, err := Decode(&amqp.Delivery{ContentType: structuredType, Body: []byte(`{"specversion":"1.0","id":"1","source":"s","type":"t",` + fields + `}`)})
		require.NoError(t, err, fields)
		require.Equal(t, want, string(e.Data), fields)
	}
}

func TestWhatIsNoEventSaysWhy(t *testing.T) {
	t.Parallel()
	structured := func(body string) amqp.Delivery { return amqp.Delivery{ContentType: structuredType, Body: []byte(body)} }
	deep := strings.Repeat("[", MaxNesting) + strings.Repeat("]", MaxNesting)
	required := `"specversion":"1.0","id":"1","source":"s","type":"t"`
	headers := amqp.Table{"cloudEvents_specversion": "1.0", "cloudEvents_id": "1", "cloudEvents_source": "s", "cloudEvents_type": "t"}
	with := func(name string, value any) amqp.Table {
		changed := amqp.Table{name: value}
		for n, v := range headers {
			if n != name {
				changed[n] = v
			}
		}
		return changed
	}
	for name, test := range map[string]struct {
		message amqp.Delivery
		want    []string
	}{
		"nothing":                {amqp.Delivery{}, []string{"type: is missing", "message_id: is missing", "app_id: is missing"}},
		"too long":               {structured(strings.Repeat(" ", MaxBytes+1)), []string{"body: is 1048577 bytes long, at most 1048576"}},
		"not JSON":               {structured(`{"id":`), []string{"body: not JSON"}},
		"empty":                  {structured(""), []string{"body: not JSON: it is empty"}},
		"not an object":          {structured(`["id"]`), []string{"body: must be a JSON object"}},
		"null":                   {structured(`null`), []string{"body: must be a JSON object"}},
		"more after it":          {structured(`{` + required + `}{}`), []string{"body: there is more after"}},
		"a key twice":            {structured(`{` + required + `,"id":"2"}`), []string{"body: repeated key at /id"}},
		"a key twice in data":    {structured(`{` + required + `,"data":{"a":1,"a":2}}`), []string{"body: repeated key at /data/a"}},
		"not UTF-8":              {structured(`{` + required + ",\"data\":\"\xff\"}"), []string{"body: not JSON", "UTF-8"}},
		"nested too deep":        {structured(`{` + required + `,"data":` + deep + `}`), []string{"body: nested deeper than 64"}},
		"no version":             {structured(`{"id":"1","source":"s","type":"t"}`), []string{"specversion: is missing"}},
		"an older version":       {structured(`{"specversion":"0.3","id":"1","source":"s","type":"t"}`), []string{`specversion: "0.3" is not supported`}},
		"a version of a number":  {structured(`{"specversion":1.0,"id":"1","source":"s","type":"t"}`), []string{"specversion: must be a string"}},
		"all that is missing":    {structured(`{"specversion":"1.0"}`), []string{"id: is missing", "source: is missing", "type: is missing"}},
		"other case":             {structured(`{"specversion":"1.0","ID":"1","source":"s","type":"t"}`), []string{"id: is missing"}},
		"empty attributes":       {structured(`{"specversion":"1.0","id":"","source":"s","type":"t","subject":""}`), []string{"id: must not be empty", "subject: must not be empty"}},
		"an id that is a number": {structured(`{"specversion":"1.0","id":1,"source":"s","type":"t"}`), []string{"id: must be a string"}},
		"a long id":              {structured(`{"specversion":"1.0","id":"` + strings.Repeat("x", MaxAttribute+1) + `","source":"s","type":"t"}`), []string{"id: is 1025 bytes long, at most 1024"}},
		"control characters":     {structured(`{"specversion":"1.0","id":"1\n2","source":"s","type":"t"}`), []string{"id: must not hold control characters"}},
		"not a URI":              {structured(`{"specversion":"1.0","id":"1","source":"%zz","type":"t"}`), []string{"source: is not a URI reference"}},
		"not a time":             {structured(`{` + required + `,"time":"yesterday"}`), []string{"time: is not a time as in RFC 3339"}},
		"two kinds of data":      {structured(`{` + required + `,"data_base64":"","data":1}`), []string{"data_base64: needs at most one of data and data_base64"}},
		"not base64":             {structured(`{` + required + `,"data_base64":"?"}`), []string{"data_base64: is not base64"}},
		"base64 of no JSON":      {structured(`{` + required + `,"datacontenttype":"application/json","data_base64":"ew=="}`), []string{"data_base64: not JSON"}},
		"a batch":                {amqp.Delivery{ContentType: "application/cloudevents-batch+json", Body: []byte("[]")}, []string{`content_type: "application/cloudevents-batch+json" is not supported`}},
		"another charset":        {amqp.Delivery{ContentType: structuredType + "; charset=latin1"}, []string{`content_type: charset "latin1" is not supported`}},
		"not a media type":       {amqp.Delivery{ContentType: "json; ;"}, []string{"content_type:"}},
		"compressed":             {amqp.Delivery{ContentEncoding: "gzip"}, []string{`content_encoding: "gzip" is not supported`}},
		"binary, of no JSON":     {amqp.Delivery{Headers: headers, Body: []byte("{")}, []string{"body: not JSON"}},
		"binary, text":           {amqp.Delivery{ContentType: "text/plain", Headers: headers, Body: []byte{0xff}}, []string{"body: is not UTF-8"}},
		"binary, two ids":        {amqp.Delivery{Headers: with("cloudEvents:id", "2")}, []string{"id: stands in the headers twice"}},
		"binary, a table for id": {amqp.Delivery{Headers: with("cloudEvents_id", amqp.Table{})}, []string{"id: must be a string"}},
		"binary, not UTF-8":      {amqp.Delivery{Headers: with("cloudEvents_id", "\xff")}, []string{"id: is not UTF-8"}},
		"binary, no version":     {amqp.Delivery{Headers: amqp.Table{"cloudEvents_id": "1"}}, []string{"specversion: is missing"}},
		"binary, a time of int":  {amqp.Delivery{Headers: with("cloudEvents_time", int64(1))}, []string{"time: must be a string"}},
		"binary, far too late":   {amqp.Delivery{Headers: with("cloudEvents_time", time.Unix(1<<60, 0))}, []string{"time: is not in a year from 1 to 9999"}},
		"plain, of no JSON":      {amqp.Delivery{Type: "t", MessageId: "1", AppId: "a", Body: []byte("film")}, []string{"body: not JSON"}},
		"plain, text":            {amqp.Delivery{ContentType: "text/plain", Type: "t", MessageId: "1", AppId: "a"}, []string{`content_type: "text/plain" is not supported without CloudEvents attributes`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := Decode(&test.message)
			require.Nil(t, e)
			require.Equal(t, notify.CodeInvalid, notify.CodeOf(err), "%v", err)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(structuredType, "", "", "", "", "", "", []byte(structuredEvent))
	f.Add("application/json", "", "cloudEvents_specversion", "1.0", "", "", "", []byte(`{"a":[1,2]}`))
	f.Add("", "utf-8", "cloudEvents:id", "1", "type", "id", "app", []byte(`{}`))
	f.Add("text/plain; charset=utf-8", "", "", "", "type", "id", "", []byte("text"))
	f.Add(structuredType, "", "", "", "", "", "", []byte(`{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"/w=="}`))
	f.Fuzz(func(t *testing.T, contentType, encoding, header, value, typ, id, app string, body []byte) {
		headers := amqp.Table{header: value}
		if strings.HasPrefix(header, "cloudEvents") { // or most would end for want of the others
			for _, name := range []string{"specversion", "id", "source", "type"} {
				if _, there := headers["cloudEvents_"+name]; !there {
					headers["cloudEvents_"+name] = "1.0"
				}
			}
		}
		e, err := Decode(&amqp.Delivery{
			ContentType: contentType, ContentEncoding: encoding, Headers: headers, Type: typ, MessageId: id, AppId: app, Body: body,
		})
		if err != nil {
			require.Nil(t, e)
			require.Equal(t, notify.CodeInvalid, notify.CodeOf(err))
			require.Greater(t, len(err.Error()), len("not an event; "))
			return
		}
		for _, attribute := range []string{e.ID, e.Source, e.Type} {
			require.NotEmpty(t, attribute)
			require.LessOrEqual(t, len(attribute), MaxAttribute)
		}
		require.NotContains(t, e.ID+e.Source+e.Type+e.Subject, "\n")
		if e.Data != nil {
			require.NoError(t, strictjson.Check(e.Data, MaxNesting))
		}
	})
}
