// Package storetest is the conformance suite of [sender.Store] and [otp.Store]: what
// the cores rely on, as tests that run on every engine. It also gives tests of other
// packages an empty PostgreSQL database.
//
// It is not about how an engine does it (files, locks, pools): that is tested in
// package store.
//
//	Run(t, open) ──> one subtest for each promise, each on a fresh store
//	Postgres(t)  ──> POSTSEAL_TEST_POSTGRES, or a private server ──> CREATE DATABASE ──> dsn
package storetest
