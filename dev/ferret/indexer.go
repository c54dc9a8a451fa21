package ferret

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// interval is how often the indexer looks for new collections. Looking at an
// idle database costs two stats.
const interval = 100 * time.Millisecond

// What ends the names of the indexes on _id: the indexer's, and FerretDB's own.
const (
	indexSuffix       = "_belfry_id"
	ferretIndexSuffix = "__id_"
)

// An indexer gives each collection an index that finds, updates and deletes by
// _id use, in place of FerretDB's own: that is on _ferretdb_sjson->"_id", while
// FerretDB asks for _ferretdb_sjson->'$._id', to SQLite another expression, so
// that each of them reads the whole table. On a collection of some thousands
// this makes 3,000 to 4,000 operations a second of 100, a quarter of them
// because there is one index to keep instead of two.
//
// It drops all other indexes that are not unique, which no query of FerretDB
// ever uses: five of them made bulk inserts of deliveries take twice as long.
type indexer struct {
	dir    string
	logger *slog.Logger
	seen   map[string]stamp // by file
}

// A stamp tells whether a database was written to since.
type stamp struct {
	file, wal         time.Time
	fileSize, walSize int64
}

func newIndexer(dir string, logger *slog.Logger) *indexer {
	return &indexer{dir: dir, logger: logger, seen: map[string]stamp{}}
}

// run makes indexes until ctx ends.
func (x *indexer) run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := x.look(ctx); err != nil && ctx.Err() == nil {
			x.logger.Warn("could not index, will try again", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look goes through the databases that changed since the last look.
func (x *indexer) look(ctx context.Context) error {
	files, err := databases(x.dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		now, err := stampOf(file)
		if err != nil || now == x.seen[file] {
			continue // an error: it was just dropped
		}
		if err := x.index(ctx, file); err != nil {
			if _, gone := os.Stat(file); os.IsNotExist(gone) {
				continue
			}
			return fmt.Errorf("index %s: %w", filepath.Base(file), err)
		}
		x.seen[file] = now
	}
	return nil
}

func stampOf(file string) (stamp, error) {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}, err
	}
	s := stamp{file: info.ModTime(), fileSize: info.Size()}
	if wal, err := os.Stat(file + "-wal"); err == nil {
		s.wal, s.walSize = wal.ModTime(), wal.Size()
	}
	return s, nil
}

// index makes the missing indexes of one database. The file is opened each
// time and not kept open, so that FerretDB is the last to close a database it
// drops and SQLite removes the log with it.
func (x *indexer) index(ctx context.Context, file string) error {
	db, err := open(file)
	if err != nil {
		return err
	}
	defer db.Close()
	missing, err := names(ctx, db, `
		SELECT name FROM sqlite_schema AS t
		WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name <> ?
		AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = t.name || ?)`,
		metadataTable, indexSuffix)
	if err != nil {
		return err
	}
	for _, table := range missing {
		if err := replaceIndex(ctx, db, table); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
		x.logger.Info("indexed a collection", slog.String("table", table))
	}
	useless, err := names(ctx, db, `
		SELECT name FROM sqlite_schema WHERE type = 'index' AND sql LIKE 'CREATE INDEX %' AND tbl_name <> ?`, metadataTable)
	if err != nil {
		return err
	}
	for _, index := range useless {
		if _, err := db.ExecContext(ctx, fmt.Sprintf("DROP INDEX IF EXISTS %q", index)); err != nil {
			return fmt.Errorf("%s: %w", index, err)
		}
	}
	return nil
}

// replaceIndex swaps the indexes on _id in one transaction: there is no moment
// without a unique one.
func replaceIndex(ctx context.Context, db *sql.DB, table string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, statement := range []string{
		fmt.Sprintf("CREATE UNIQUE INDEX %q ON %q (%s)", table+indexSuffix, table, idExpression),
		fmt.Sprintf("DROP INDEX IF EXISTS %q", table+ferretIndexSuffix),
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}
