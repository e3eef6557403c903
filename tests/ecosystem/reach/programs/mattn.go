// Two connections of mattn's go-sqlite3: the second one's write is refused.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	pool, err := sql.Open("sqlite3", "a.db?_busy_timeout=0")
	must(err)
	always := context.Background()
	connect := func() *sql.Conn {
		connection, err := pool.Conn(always)
		must(err)
		return connection
	}
	execute := func(connection *sql.Conn, statement string) error {
		_, err := connection.ExecContext(always, statement)
		return err
	}
	a := connect()
	must(execute(a, "PRAGMA journal_mode = WAL"))
	must(execute(a, "CREATE TABLE t(x)"))
	b := connect()
	must(execute(a, "BEGIN IMMEDIATE"))
	must(execute(a, "INSERT INTO t VALUES (1)"))
	var refused sqlite3.Error
	if errors.As(execute(b, "INSERT INTO t VALUES (2)"), &refused) && refused.Code == sqlite3.ErrBusy {
		fmt.Println("busy")
	}
	must(execute(a, "COMMIT"))
	must(execute(b, "INSERT INTO t VALUES (3)"))
	var rows int
	must(a.QueryRowContext(always, "SELECT count(*) FROM t").Scan(&rows))
	fmt.Println("done", rows)
	must(a.Close())
	must(b.Close())
	must(pool.Close())
}
