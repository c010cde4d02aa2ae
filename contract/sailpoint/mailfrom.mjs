// MAIL FROM domains, by whichever path the client finds.
import { assert, both, has, ok, Pending, publish, refused, Success, tenant, test, unique, unpublish, until } from './lib.mjs'

const mine = await tenant()

both(mine, 'a MAIL FROM domain is set, read and proven', async release => {
  const name = unique('from') + '.example'
  ok(await release.createDomain(name))
  const person = `bob+news@${name}`
  await refused(() => release.mailFrom(person), '404 Not found') // none is set

  const bounce = `bounce.${name}`
  const set = ok(await release.setMailFrom(person, bounce))
  has(set, { identity: person, mailFromDomain: bounce, mailFromDomainStatus: Pending, mxRecord: /^\d+ [a-z0-9.-]+[a-z]$/, txtRecord: /^v=spf1 .*all$/ })
  // By the v2024 API the identity comes in the query, with {identity} in the path.
  assert.deepEqual(ok(await release.mailFrom(person)), set)
  for (const identity of [name, `somebody+else@${name}`]) {
    assert.deepEqual(ok(await release.mailFrom(identity)), { ...set, identity })
  }

  const [priority, exchange] = set.mxRecord.split(' ')
  await publish(bounce, 'MX', exchange, Number(priority))
  has(ok(await release.mailFrom(person)), { mailFromDomainStatus: Pending }) // it needs both
  await publish(bounce, 'TXT', set.txtRecord)
  await until(`${bounce} is proven`, async () => ok(await release.mailFrom(person)).mailFromDomainStatus === Success)

  // Another one replaces it.
  const other = `return.${name}`
  const replaced = ok(await release.setMailFrom(name, other))
  has(replaced, { identity: name, mailFromDomain: other, mailFromDomainStatus: Pending })
  has(ok(await release.mailFrom(person)), { identity: person, mailFromDomain: other, mailFromDomainStatus: Pending })
  await unpublish(bounce, 'TXT', set.txtRecord)
})

both(mine, 'what is no MAIL FROM domain is refused', async release => {
  const name = unique('none') + '.example'
  ok(await release.createDomain(name))
  for (const mailFrom of [name, 'bounce.elsewhere.example', 'not' + name, 'nonsense', `bounce@${name}`]) {
    await refused(() => release.setMailFrom(`bob@${name}`, mailFrom), '400.1.3 Illegal value', /./)
  }
  for (const [identity, mailFrom] of [['', 'bounce.' + name], [undefined, 'bounce.' + name], [name, ''], [name, undefined]]) {
    await refused(() => release.setMailFrom(identity, mailFrom), '400.1.0 Required Data Missing Or Empty', /./)
  }
  await refused(() => release.setMailFrom('bob@unknown.example', 'bounce.unknown.example'), '400.1.404 Referenced object not found', /./)
  for (const identity of ['bob@unknown.example', 'unknown.example', `bob@${name}`]) {
    await refused(() => release.mailFrom(identity), '404 Not found')
  }
  for (const identity of ['nonsense', 'a/b', '@', 'a@b@c']) await refused(() => release.mailFrom(identity), '400.1.3 Illegal value', /./)
})

test('each release sees what the other has set', async () => {
  const { beta, v2024 } = mine
  const name = unique('both') + '.example'
  ok(await beta.createDomain(name))
  const set = ok(await beta.setMailFrom(name, 'bounce.' + name))
  assert.deepEqual(ok(await v2024.mailFrom(name)), set)
})
