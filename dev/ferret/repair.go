package ferret

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// repair undoes what FerretDB leaves when it is killed while it makes a
// database or a collection, and refuses to start from: it does so in several
// transactions. Nothing has been stored in either by then.
func repair(dir string) error {
	files, err := databases(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		empty, err := repairFile(context.Background(), file)
		if err != nil {
			return fmt.Errorf("repair %s: %w", filepath.Base(file), err)
		}
		if !empty {
			continue
		}
		for _, name := range []string{file, file + "-wal", file + "-shm"} {
			if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
				return fmt.Errorf("repair: %w", err)
			}
		}
	}
	return nil
}

// repairFile drops tables that FerretDB does not know and collections without
// settings. It reports whether the file has no metadata, so holds nothing.
func repairFile(ctx context.Context, file string) (empty bool, err error) {
	db, err := open(file)
	if err != nil {
		return false, err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()

	found, err := names(ctx, tx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`)
	if err != nil {
		return false, err
	}
	if !slices.Contains(found, metadataTable) {
		return len(found) == 0, nil
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM `+metadataTable+` WHERE settings = '{}'`); err != nil {
		return false, err
	}
	known, err := names(ctx, tx, `SELECT table_name FROM `+metadataTable)
	if err != nil {
		return false, err
	}
	for _, table := range found {
		if table == metadataTable || slices.Contains(known, table) {
			continue
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("DROP TABLE %q", table)); err != nil {
			return false, err
		}
	}
	return false, tx.Commit()
}
