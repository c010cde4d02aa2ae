// Package pingone drives a real `postseal dev` with the vendor's own Go client
// and checks what that client makes of every answer. The package itself is empty,
// and a module of its own, so that neither the client nor what it needs becomes a
// dependency of Postseal.
//
//	tests -> pingone-go-sdk-v2/management -> http -----------------> postseal dev
//	                                      -> https -> forward proxy -^
//	      -> `postseal dev dns`, `postseal dev mail` ----------------^
//
// Terraform can't be had where the tests run. What its provider does beyond the
// client, by the contract, is done by a client of our own (scripted_test.go for the
// wire, managed_test.go for resources and state), against an instance of its own.
// surprise_test.go shows that it notices what would stop the real one.
//
// It knows nothing of Postseal's packages: the binary is built, started and
// stopped as a user would.
package pingone
