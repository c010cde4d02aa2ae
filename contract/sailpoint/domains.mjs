// Domains: proven by their records, they vouch for their addresses, and no longer.
import { assert, both, dkim, has, linkIn, mailed, newest, ok, operate, Pending, publish, refused, sleep, Success, tenant, test, unique, unpublish, until, uuid } from './lib.mjs'

const mine = await tenant()

/** prove creates a domain and publishes its records. */
async function prove(release, name) {
  const { id, dkimTokens } = ok(await release.createDomain(name))
  const records = dkim(name, dkimTokens)
  for (const record of records) await publish(...record)
  await until(`${name} is proven`, async () => (await release.domain(name)).dkimVerificationStatus === Success)
  return { id, records }
}

both(mine, 'a domain is created once', async release => {
  const name = unique('shop') + '.example'
  const made = ok(await release.createDomain(name)) // 200, though it is new
  has(made, { id: uuid, domain: name, dkimEnabled: true, dkimVerificationStatus: Pending, address: undefined })
  assert.equal(new Set(made.dkimTokens).size, 3)
  for (const token of made.dkimTokens) assert.match(token, /^[a-z0-9]{32}$/)
  if ('region' in made) assert.equal(typeof made.region, 'string')

  // In lists it is the address.
  const { domain, ...others } = made
  assert.deepEqual(await release.domain(name), { ...others, address: domain })
  for (const again of [name, name.toUpperCase(), name + '.']) {
    has(ok(await release.createDomain(again)), { id: made.id, domain: again, dkimTokens: made.dkimTokens })
  }
})

both(mine, 'what is no domain is refused', async release => {
  for (const name of ['nonsense', 'a@customer.example', 'a b.example', '-a.example', 'a..example', '127.0.0.1', 'https://customer.example/']) {
    await refused(() => release.createDomain(name), '400.1.3 Illegal value', /./)
  }
  await refused(() => release.createDomain(''), '400.1.0 Required Data Missing Or Empty', /domain/)
  await refused(() => release.createDomain(undefined), '400.1.0 Required Data Missing Or Empty', /domain/)
})

both(mine, 'a proven domain vouches for its addresses until it is lost', async release => {
  const name = unique('mail') + '.example'
  const waiting = `waiting@${name}`
  has(ok(await release.createAddress(waiting), 201), { isVerifiedByDomain: false, verificationStatus: Pending })
  const asked = await mailed(waiting)
  const own = `own@${name}`
  ok(await release.createAddress(own), 201)
  const confirmed = await mailed(own)
  assert.equal((await fetch(linkIn(confirmed), { method: 'POST' })).status, 200)
  has(await release.address(own), { isVerifiedByDomain: false, verificationStatus: Success })

  const { records } = await prove(release, name)
  const vouched = { isVerifiedByDomain: true, verificationStatus: Success }
  has(await release.address(waiting), vouched)
  // Those that come later need no mail, nor do those of names below.
  const later = [`later@${name}`, `later@deep.below.${name}`]
  for (const email of later) has(ok(await release.createAddress(email), 201), vouched)
  has(ok(await release.createAddress('elsewhere@not' + name), 201), { isVerifiedByDomain: false, verificationStatus: Pending })
  await sleep(1000)
  for (const [email, mail] of [[waiting, asked], [own, confirmed], [later[0], ''], [later[1], '']]) assert.equal(await newest(email), mail)

  // Without its records it is trusted for the grace, and then is lost.
  for (const record of records) await unpublish(...record)
  for (const email of [waiting, ...later]) {
    await until(`${email} is trusted no longer`, async () => (await release.address(email)).verificationStatus !== Success)
    has(await release.address(email), { isVerifiedByDomain: false, verificationStatus: Pending })
  }
  has(await release.address(own), { isVerifiedByDomain: false, verificationStatus: Success }) // by itself
  assert.notEqual((await release.domain(name)).dkimVerificationStatus, Success)

  // It comes back with them.
  for (const record of records) await publish(...record)
  await until(`${name} is proven again`, async () => {
    ok(await release.createDomain(name)) // which looks at the records
    return (await release.address(later[0])).verificationStatus === Success
  })
  for (const email of [waiting, ...later]) has(await release.address(email), vouched)
})

test('a domain that was proven in the API of PingOne is proven here', async () => {
  const { beta, v2024, id: tenantID } = mine
  const name = unique('other') + '.example'
  const domains = `/v1/environments/${tenantID}/emailDomains`
  const { id } = await operate('POST', domains, { domainName: name })
  const email = `noreply@${name}`
  has(ok(await v2024.createAddress(email), 201), { verificationStatus: Pending })
  has(await beta.domain(name), { id, dkimVerificationStatus: Pending })
  has(ok(await beta.createDomain(name)), { id })

  const { regions } = await operate('GET', `${domains}/${id}/ownership`)
  for (const { key, value } of regions) await publish(key, 'TXT', value)
  await until(`${name} is owned`, async () => {
    await operate('GET', `${domains}/${id}/ownership`) // reading is the check
    return (await v2024.address(email)).verificationStatus === Success
  })
  has(await beta.address(email), { isVerifiedByDomain: true, verificationStatus: Success })
  has(await v2024.domain(name), { id, dkimVerificationStatus: Pending }) // which is another matter
})
