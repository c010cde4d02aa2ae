// Package store keeps everything durable, on SQLite or PostgreSQL: it is
// [sender.Store] and [otp.Store], the ports of both cores, over one database.
//
// It knows rows, not rules. What may be written is decided in the core; the store
// sees to it that a transaction happens whole or not at all, that every look-up of
// tenant data names the tenant, and that what must be recovered but never read by
// others (bodies of mail, private and HMAC keys, the instance's secrets) is sealed before it
// reaches a file. It starts no goroutine that outlives a call, but for the turn of
// the group committer, which ends when nobody waits.
//
//	          sender.Reader, otp.Reader    sender.Tx, otp.Tx
//	                     |                      |
//	                     +--- reader.go, tx.go, message.go, otp.go
//	                                  |
//	                  db.Queries: one SQL text, made by sqlc
//	                     |                      |
//	      adapter.go, on database/sql       pgx itself
//	                     |                      |
//	readers (query only)   committer      pgxpool, retries
//	                     |                      |
//	                  SQLite                PostgreSQL
//
// What clients ask for by an expression is compiled in find.go, to one text for both
// engines, too. The few statements that the engines can't share are the methods of
// dialect, in sqlite.go and postgres.go. Times are stored as microseconds in UTC, the
// zero time as 0. Strings that are not UTF-8 or hold NUL can't be stored as text by
// PostgreSQL; on both engines such octets become U+FFFD.
package store
