package dnscheck

// asker is how follow-up questions about a domain are asked: of all resolvers, the first
// good answer counts.
func (c *Checker) asker(Name) lookups { return c.resolver.first }
