package ferret

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver FerretDB uses too
)

// What FerretDB calls things in its SQLite files, one file a database.
const (
	extension     = ".sqlite"
	metadataTable = "_ferretdb_collections" // columns name, table_name, settings
	idExpression  = `_ferretdb_sjson->'$._id'`
)

// databases lists the SQLite files in a folder.
func databases(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == extension {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	return files, nil
}

// open opens an existing SQLite file beside FerretDB.
func open(file string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: file, RawQuery: url.Values{
		"mode":    {"rw"}, // FerretDB may be dropping it: never make it anew
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)"},
	}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(file), err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// A querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// names reads the single column of a query.
func names(ctx context.Context, q querier, query string, args ...any) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}
