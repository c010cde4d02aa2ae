// Verified from addresses, from their creation to their end.
import { assert, both, client, has, linkIn, mailed, newest, nothing, ok, Pending, refused, sail, sleep, Success, tenant, test, unique, until, uuid } from './lib.mjs'

const mine = await tenant()

both(mine, 'an address is proven by the link in its mail', async release => {
  const email = unique('noreply') + '@customer.example'
  // What only the service can know is ignored.
  const made = ok(await release.createAddress(email, { id: 'mine', isVerifiedByDomain: true, verificationStatus: Success, region: 'mine', stray: 1 }), 201)
  has(made, { id: uuid, email, isVerifiedByDomain: false, verificationStatus: Pending })
  assert.deepEqual(await release.address(email), made)

  const link = linkIn(await mailed(email))
  assert.ok(link.startsWith(process.env.POSTSEAL_URL + '/confirm/'), link)
  // Whatever looks into mail opens links, and that must prove nothing.
  for (const method of ['HEAD', 'GET', 'GET']) assert.equal((await fetch(link, { method })).status, 200)
  has(await release.address(email), { id: made.id, verificationStatus: Pending })
  assert.equal((await fetch(link.slice(0, -1) + (link.endsWith('A') ? 'B' : 'A'), { method: 'POST' })).status, 404)
  has(await release.address(email), { verificationStatus: Pending })

  const page = await fetch(link, { method: 'POST' })
  assert.equal(page.status, 200)
  assert.match(await page.text(), /confirmed/)
  has(await release.address(email), { id: made.id, email, isVerifiedByDomain: false, verificationStatus: Success })

  // It stays so, whoever creates it again.
  has(ok(await release.createAddress(email), 201), { id: made.id, verificationStatus: Success })
  nothing(await release.api.deleteVerifiedFromAddress({ id: made.id }))
  assert.equal(await release.address(email), undefined)
  assert.equal((await fetch(link, { method: 'POST' })).status, 404)
})

both(mine, 'creating an address again gives the same one', async release => {
  const email = unique('again') + '@customer.example'
  const made = ok(await release.createAddress(email), 201)
  const first = await mailed(email)
  const again = await Promise.all([email, email.toUpperCase(), email].map(e => release.createAddress(e)))
  for (const answer of again) has(ok(answer, 201), { id: made.id, verificationStatus: Pending })
  assert.equal((await release.list({ filters: `email sw "${email.split('@')[0]}"` })).length, 1)
  // In a minute, which the fast clock makes a second, it may be asked for another mail.
  await sleep(1000)
  has(ok(await release.createAddress(email), 201), { id: made.id })
  await mailed(email, first)

  // Created by many at once it is one, too.
  const raced = unique('raced') + '@customer.example'
  const ids = await Promise.all(Array.from({ length: 5 }, async () => ok(await release.createAddress(raced), 201).id))
  assert.equal(new Set(ids).size, 1, String(ids))
  for (const id of [made.id, ids[0]]) nothing(await release.api.deleteVerifiedFromAddress({ id }))
})

test('both releases see the same addresses', async () => {
  const { beta, v2024 } = mine
  const email = unique('shared') + '@customer.example'
  const made = ok(await beta.createAddress(email), 201)
  assert.deepEqual(await v2024.address(email), made)
  has(ok(await v2024.createAddress(email), 201), { id: made.id })
  nothing(await v2024.api.deleteVerifiedFromAddress({ id: made.id }))
  assert.equal(await beta.address(email), undefined)
})

both(mine, 'a plus in an address is one', async release => {
  const email = unique('a+b') + "'c@customer.example"
  const { id } = has(ok(await release.createAddress(email), 201), { email })
  has(await release.address(email), { id })
  await mailed(email)
  nothing(await release.api.deleteVerifiedFromAddress({ id }))
})

both(mine, 'what is no address is refused', async release => {
  for (const email of ['nobody', '@customer.example', 'a@', 'a b@customer.example', 'a@customer.example, b@customer.example', 'A <a@customer.example>', 'a@customer.example\r\nBcc: b@customer.example']) {
    await refused(() => release.createAddress(email), '400.1.3 Illegal value', /./)
  }
  await refused(() => release.createAddress(''), '400.1.0 Required Data Missing Or Empty', /email/)
  await refused(() => release.createAddress(undefined), '400.1.0 Required Data Missing Or Empty', /email/)
  // This one the client refuses by itself.
  await assert.rejects(release.api.createVerifiedFromAddress({}), { name: 'RequiredError' })
})

both(mine, 'what is not there cannot be deleted', async release => {
  for (const id of ['00000000-0000-4000-8000-000000000000', 'nonsense', 'a/b', 'a@customer.example', '%', '?', 'v1', 'bulk-delete', 'é']) {
    await refused(() => release.api.deleteVerifiedFromAddress({ id }), '404 Not found')
  }
})

const crowd = await tenant()

test('lists are filtered, sorted, counted and cut', async () => {
  const { beta, v2024 } = crowd
  const names = ['delta', 'alpha', 'charlie', 'bravo', 'echo'].map(n => n + '@crowd.example')
  for (const email of names) ok(await beta.createAddress(email), 201)
  for (const release of [beta, v2024]) {
    const emails = async parameters => (await release.list(parameters)).map(a => a.email.split('@')[0]).join(' ')
    assert.equal(await emails(), 'delta alpha charlie bravo echo')
    assert.equal(await emails({ sorters: 'email' }), 'alpha bravo charlie delta echo')
    assert.equal(await emails({ sorters: '-email' }), 'echo delta charlie bravo alpha')
    for (const [filters, want] of [
      ['email eq "charlie@crowd.example"', 'charlie'], ['email eq "CHARLIE@crowd.example"', 'charlie'],
      ['email ge "charlie@crowd.example"', 'charlie delta echo'], ['email gt "charlie@crowd.example"', 'delta echo'],
      ['email le "charlie@crowd.example"', 'alpha bravo charlie'], ['email lt "charlie@crowd.example"', 'alpha bravo'],
      ['email sw "b"', 'bravo'], ['email eq "nobody@crowd.example"', ''],
      ['email gt "alpha@crowd.example" and email lt "delta"', 'bravo charlie'], ['email sw "a" or email sw "e"', 'alpha echo'],
      ['not email sw "a"', 'bravo charlie delta echo'], ['(email sw "a" or email sw "b") and not email sw "b"', 'alpha'],
    ]) assert.equal(await emails({ filters, sorters: 'email' }), want, filters)

    assert.equal(await emails({ sorters: 'email', limit: 2, offset: 1 }), 'bravo charlie')
    assert.equal(await emails({ limit: 0 }), '')
    assert.equal(await emails({ offset: 5 }), '')
    const counted = await release.api.listFromAddresses({ limit: 2, count: true, filters: 'email lt "echo"' })
    assert.equal(ok(counted).length, 2)
    assert.equal(counted.headers['x-total-count'], '4')
    for (const parameters of [{ limit: 2, count: false }, { limit: 2 }]) {
      assert.equal((await release.api.listFromAddresses(parameters)).headers['x-total-count'], undefined)
    }
    for (const parameters of [
      { filters: 'email' }, { filters: 'email eq' }, { filters: 'email co "a"' }, { filters: 'id eq "a"' }, { filters: 'email eq "a' },
      { filters: 'email eq "a" and' }, { sorters: 'id' }, { sorters: 'email desc' }, { limit: 251 }, { limit: -1 }, { limit: 'x' }, { offset: -1 }, { count: 'x' },
    ]) await refused(() => release.api.listFromAddresses(parameters), '400.1.3 Illegal value', /./)
  }
})

test("the client's paginator gets them all", async () => {
  const { id, beta } = await tenant()
  const want = []
  for (let i = 0; i < 12; i++) {
    want.push(`page${String(i).padStart(2, '0')}@page${i % 2}.example`)
    ok(await beta.createAddress(want[i]), 201)
  }
  const other = await client(id) // with a meter of its own
  for (const release of [other.beta, other.v2024]) {
    const page = (parameters, ...more) => sail.Paginator.paginate(release.api, release.api.listFromAddresses, parameters, ...more)
    for (const each of [1, 4, 5, 12, 250, undefined]) { // pages that fit, and those that don't
      assert.deepEqual(ok(await page({ sorters: 'email' }, each)).map(a => a.email), want, `${each} at a time`)
      assert.deepEqual(ok(await page(undefined, each)).map(a => a.email), want, `${each} at a time, in the order of creation`)
    }
    assert.deepEqual(ok(await page({ sorters: 'email', filters: 'email ge "page03"', limit: 5 }, 3)).map(a => a.email), want.slice(3, 9))
    assert.deepEqual(ok(await page({ sorters: '-email', offset: 7 }, 2)).map(a => a.email), want.slice().reverse().slice(7))
  }
})
