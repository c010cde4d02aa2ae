// Package db is the queries as typed functions, for both engines: sqlc writes it
// from store/queries and store/migrations/postgres (make generate), but for this
// file. It holds no rule and no conversion, and only package store uses it.
//
//	store/queries/*.sql ──> sqlc ──> Queries ──> DBTX: pgx, or store's adapter on SQLite
package db
