-- +goose Up

-- A tenant's own way out may be an HTTP API instead of an SMTP server: host, port, user name and
-- password say nothing then. The document is sealed as a whole for this tenant, since URL,
-- headers and body may hold secrets, and since the token must not open beside another URL.
ALTER TABLE relays ADD COLUMN http BYTEA; -- sealed JSON; NULL: an SMTP server

-- A name that was sent empty is answered from now on; so far nobody knows.
UPDATE relays SET author = replace(author, '{"Name":"",', '{"Name":null,'), reply_to = replace(reply_to, '{"Name":"",', '{"Name":null,');
