module github.com/postseal/postseal/contract/pingone

go 1.26.0

require (
	github.com/patrickcping/pingone-go-sdk-v2/management v0.70.0
	golang.org/x/oauth2 v0.37.0
)
