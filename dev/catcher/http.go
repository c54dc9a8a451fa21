package catcher

import (
	"bufio"
	"embed"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

//go:embed page
var page embed.FS

// pagePolicy lets the page run its own script and show mails in a frame from
// here, and nothing else: neither it nor a mail can reach another host.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// mailPolicy is for a mail's HTML: no scripts, nothing loaded from anywhere.
// Links open in a tab of their own, when clicked.
const mailPolicy = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; " +
	"style-src 'unsafe-inline'; img-src data:; font-src data:; media-src data:; frame-ancestors 'self'"

// A handler answers the page, the JSON and the views of single mails.
type handler struct {
	spool  *spool
	logger *slog.Logger
}

func newHandler(spool *spool, logger *slog.Logger) http.Handler {
	h := &handler{spool: spool, logger: logger}
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /messages", h.list)
	mux.HandleFunc("DELETE /messages", h.clear)
	mux.HandleFunc("GET /messages/{id}", h.show)
	mux.HandleFunc("GET /messages/{id}/source", h.source)
	mux.HandleFunc("GET /messages/{id}/html", h.html)
	mux.HandleFunc("GET /status", h.status)
	mux.Handle("GET /", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", pagePolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-DNS-Prefetch-Control", "off")
		header.Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}

// list answers {"items": [...]}, oldest first: all mails, or those after the
// id in "after", or the newest "limit" ones, or those to the address in "to".
func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, err := number(query.Get("after"))
	if err != nil {
		http.Error(w, "after: not an id", http.StatusUnprocessableEntity)
		return
	}
	limit, err := number(query.Get("limit"))
	if err != nil {
		http.Error(w, "limit: not a number", http.StatusUnprocessableEntity)
		return
	}
	items := h.spool.list(after)
	if to := query.Get("to"); to != "" {
		items = addressed(items, to)
	}
	if limit > 0 && limit < uint64(len(items)) {
		items = items[uint64(len(items))-limit:]
	}
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, 64<<10)
	defer func() { _ = out.Flush() }() // an error: the client left
	_, _ = out.WriteString(`{"items": [`)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for i, item := range items {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		if err := encoder.Encode(item); err != nil {
			return // the client left
		}
	}
	_, _ = out.WriteString("]}\n")
}

// number reads an optional number of a query.
func number(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

// addressed are the mails whose envelope has the address.
func addressed(items []*entry, to string) (found []*entry) {
	for _, item := range items {
		for _, address := range item.To {
			if strings.EqualFold(address, to) {
				found = append(found, item)
				break
			}
		}
	}
	return found
}

// clear drops all mails.
func (h *handler) clear(w http.ResponseWriter, _ *http.Request) {
	if err := h.spool.clear(); err != nil {
		h.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// status answers what the page polls.
func (h *handler) status(w http.ResponseWriter, _ *http.Request) {
	count, first, last := h.spool.bounds()
	h.json(w, map[string]any{
		"count": count, "first": strconv.FormatUint(first, 10), "last": strconv.FormatUint(last, 10),
	})
}

// show answers one mail taken apart.
func (h *handler) show(w http.ResponseWriter, r *http.Request) {
	e, raw, ok := h.read(w, r)
	if !ok {
		return
	}
	m := parse(raw)
	h.json(w, struct {
		*entry
		Headers map[string][]string `json:"headers"`
		HTML    string              `json:"html"`
		Text    string              `json:"text"`
	}{e, m.Headers, m.HTML, m.Text})
}

// source answers one mail as it came.
func (h *handler) source(w http.ResponseWriter, r *http.Request) {
	if _, raw, ok := h.read(w, r); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(raw) // an error: the client left
	}
}

// html answers the HTML part of one mail, for a frame.
func (h *handler) html(w http.ResponseWriter, r *http.Request) {
	if _, raw, ok := h.read(w, r); ok {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", mailPolicy)
		_, _ = w.Write([]byte(`<!doctype html><base target="_blank">` + parse(raw).HTML))
	}
}

// read finds the mail a request is about and answers the request if it cannot.
func (h *handler) read(w http.ResponseWriter, r *http.Request) (*entry, []byte, bool) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		http.NotFound(w, r)
		return nil, nil, false
	}
	e, raw, found, err := h.spool.read(id)
	switch {
	case err != nil:
		h.fail(w, err)
	case !found:
		http.NotFound(w, r)
	}
	return e, raw, found && err == nil
}

func (h *handler) json(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // an error: the client left
}

func (h *handler) fail(w http.ResponseWriter, err error) {
	h.logger.Error("the mail page failed", slog.Any("error", err))
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
