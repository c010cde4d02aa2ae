// Package pingone drives a real `postseal dev` with the vendor's own Go client
// and checks what that client makes of every answer. The package itself is empty,
// and a module of its own, so that neither the client nor what it needs becomes a
// dependency of Postseal.
//
//	tests -> pingone-go-sdk-v2/management -> http -----------------> postseal dev
//	                                      -> https -> forward proxy -^
//	      -> `postseal dev dns`, `postseal dev mail` ----------------^
//
// It knows nothing of Postseal's packages: the binary is built, started and
// stopped as a user would.
package pingone
