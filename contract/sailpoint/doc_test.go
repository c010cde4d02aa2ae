// Package sailpoint_test runs the vendor's TypeScript client, unmodified, against a
// real `postseal dev`, and checks what that client makes of every answer.
//
//	go test -> node *.mjs -> sailpoint-api-client -> /oauth, /beta, /v2024 of postseal dev
//	                      -> operator's key: DNS records, mail -----> /dev of postseal dev
//
// The client is npm's: package.json pins it, package-lock.json has its hashes and
// names no host, so that npm asks whichever registry it is set up for. Node and npm
// must be there; scripts/install-test-deps brings them. What npm installs stays in
// .npm for the next time, which git ignores.
//
// Each script is a test of its own and can be run by hand:
//
//	npm ci && (set -a; . ENV_FILE; node addresses.mjs)
//
// To have another version of the client, change package.json and then: npm run lock.
package sailpoint_test
