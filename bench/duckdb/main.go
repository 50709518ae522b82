//go:build cgo

// Command duckdb answers SQL over Parquet files by HTTP: DuckDB as a
// participant of the comparison of stores, which reads weir's segments.
//
//	GET  /ready
//	POST /query   q=SQL, over the view logs; answers with a JSON array of rows
package main

import (
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"

	_ "github.com/duckdb/duckdb-go/v2"
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "127.0.0.1:0", "address")
	files := flag.String("files", "", "pattern of the files")
	flag.Parse()
	if err := run(*listen, *files); err != nil {
		log.Fatal("duckdb: ", err)
	}
}

func run(listen, files string) error {
	db, err := open(files)
	if err != nil {
		return err
	}
	defer db.Close()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /query", func(w http.ResponseWriter, r *http.Request) {
		rows, err := query(r, db)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := json.NewEncoder(w).Encode(rows); err != nil {
			log.Print(err) // the client is gone
		}
	})
	return http.Serve(l, mux)
}

// open opens a database in memory with the view logs over Parquet files. Times
// are UTC.
func open(files string) (*sql.DB, error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return nil, err
	}
	view := fmt.Sprintf("set timezone = 'UTC'; create view logs as select * from read_parquet('%s', union_by_name = true)", strings.ReplaceAll(files, "'", "''"))
	if _, err := db.Exec(view); err != nil {
		return nil, fmt.Errorf("%w, and %v", err, db.Close())
	}
	return db, nil
}

func query(r *http.Request, db *sql.DB) ([][]any, error) {
	rows, err := db.QueryContext(r.Context(), r.FormValue("q"))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	out := [][]any{}
	for rows.Next() {
		values, to := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				values[i] = string(b)
			}
		}
		out = append(out, values)
	}
	return out, rows.Err()
}
