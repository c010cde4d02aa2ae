// Package jobs is the durable job engine behind the core's Task port: River, on
// SQLite for one machine and on PostgreSQL for many.
//
//	Store.Update -> InsertSQL or InsertPgx -> commit        (in the caller's transaction)
//	                                             |
//	Run: River fetches what is due -> Config.Workers[kind] -> done, or again later
//	     Periodic: PostgreSQL: the elected leader enqueues, one node runs it
//	               SQLite:     a ticker, for there is one process only
//
// It is not the outbox: a message is never a job. A dispatch task only wakes the
// dispatcher, which asks its own table what is due; so a task that runs twice,
// late or for nothing does no harm, and this is what every worker has to bear.
// Nor does it share work fairly between tenants; the outbox does.
//
// Two rules follow from SQLite's single writing connection, which is shared with
// the store. Inserting uses the caller's transaction and nothing else, for asking
// the pool for a second connection inside a transaction would wait for ever. And a
// worker must not hold a transaction open while it waits for anything.
//
// What a killed process leaves behind: on SQLite, where nobody else can be using
// the file, Run gives its running jobs back at once. On PostgreSQL other nodes may
// be alive, so a job counts as lost once it has been running for longer than it
// may: with jobTimeout it runs elsewhere within a minute.
package jobs
