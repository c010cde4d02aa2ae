// Package api is what the dialects share: how a request becomes a call of the
// core and its answer goes back. It knows HTTP, and none of the dialects' words.
//
//	Mux -> route -> Handle -> Authenticate -> decode -> core -> encode
//	  \                 \___________ any error ___________/       |
//	   404, 405 ------------------> Dialect.WriteError            v
//	                                                    buffer -> Finish -> client
//
// An answer is buffered, so that one which fails half-way is an error and never
// half a body. A dialect is routes, pure wire functions, one table of errors and
// a map of status words; see [Dialect].
package api
