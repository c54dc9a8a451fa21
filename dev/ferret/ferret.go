// Package ferret runs FerretDB inside the process as Belfry's local MongoDB:
// the wire protocol in front, SQLite files behind.
//
// FerretDB v1.24 needs two mends to bear Belfry's load, both made here: SQLite
// is opened so that writers wait for each other instead of failing (see
// sqliteURL), and every collection gets an index that finds by _id can use
// (see indexer).
package ferret

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// A Config says where a server keeps its data and listens.
type Config struct {
	Dir    string // of the SQLite files; made if missing
	Addr   string // host:port; port 0 takes a free one
	Logger *slog.Logger
}

// A Server is a running FerretDB.
type Server struct {
	addr    string
	cancel  context.CancelFunc
	stopped chan struct{}
}

// making lets one server be made at a time: ferretdb.New writes to a global of
// its version package.
var making sync.Mutex

// Start opens the data and listens. Clients can connect once it returns.
func Start(config Config) (*Server, error) {
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the folder of the data: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the data: %w", err)
	}
	if err := repair(dir); err != nil {
		return nil, err
	}
	making.Lock()
	engine, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: config.Addr},
		Logger:    slog.New(late{config.Logger.Handler()}),
		Handler:   "sqlite",
		SQLiteURL: sqliteURL(dir),
	})
	making.Unlock()
	if err != nil {
		return nil, fmt.Errorf("start FerretDB: %w", err)
	}
	uri, err := url.Parse(engine.MongoDBURI())
	if err != nil {
		return nil, fmt.Errorf("read FerretDB's address: %w", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{addr: uri.Host, cancel: cancel, stopped: make(chan struct{})}
	indexing := make(chan struct{})
	go func() {
		defer close(indexing)
		newIndexer(dir, config.Logger).run(ctx)
	}()
	go func() {
		defer close(s.stopped)
		_ = engine.Run(ctx) // is always nil
		<-indexing
	}()
	return s, nil
}

// late makes attributes into text only where something is logged with them:
// FerretDB gives its loggers some for each message of a client's, which took an
// eighth of its time.
type late struct{ slog.Handler }

func (l late) WithAttrs(attrs []slog.Attr) slog.Handler { return lateAttrs{l.Handler, attrs} }

type lateAttrs struct {
	slog.Handler
	attrs []slog.Attr
}

func (l lateAttrs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lateAttrs{l.Handler, slices.Concat(l.attrs, attrs)}
}

func (l lateAttrs) WithGroup(name string) slog.Handler {
	return late{l.Handler.WithAttrs(l.attrs).WithGroup(name)}
}

func (l lateAttrs) Handle(ctx context.Context, r slog.Record) error {
	return l.Handler.WithAttrs(l.attrs).Handle(ctx, r)
}

// sqliteURL is what FerretDB opens. Immediate transactions queue writers by
// busy_timeout; deferred ones, the default, fail with SQLITE_BUSY as soon as
// two of them have read before they write. In WAL mode synchronous(normal)
// loses nothing to a crash of the process, only to one of the machine.
func sqliteURL(dir string) string {
	query := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "journal_mode(wal)", "synchronous(normal)", "temp_store(memory)", "wal_autocheckpoint(8000)"},
	}
	u := url.URL{Scheme: "file", Path: dir + "/", RawQuery: query.Encode()}
	return u.String()
}

// Addr is the host:port the server listens on.
func (s *Server) Addr() string { return s.addr }

// URI is a MongoDB connection string for the database.
func (s *Server) URI(database string) string {
	return "mongodb://" + s.addr + "/" + database
}

// Stop closes the listener, gives connections up to 3 s to end and closes the
// data. It returns early with an error when ctx ends first.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("FerretDB still has connections"), ctx.Err())
	}
}

// Ready says whether the server takes connections.
func (s *Server) Ready() bool {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
