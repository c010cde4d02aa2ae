// How the client comes in, and what it makes of being kept out.
import { assert, client, configure, has, nothing, ok, operate, Pending, rejected, refused, releases, sail, tenant, test, unique, uuid } from './lib.mjs'

const { SAIL_BASE_URL, SAIL_CLIENT_ID, SAIL_CLIENT_SECRET, SAIL_CLIENT_ID_2, SAIL_CLIENT_SECRET_2 } = process.env

test('the environment is all that the client needs', async () => {
  const configuration = new sail.Configuration()
  configuration.experimental = true
  for (const release of releases(configuration)) assert.ok(Array.isArray(await release.list()))
  // One multipart request made the token for both.
  assert.ok((await configuration.accessToken).length > 20)
})

test('the token is asked for in a multipart form', async () => {
  const form = new FormData()
  form.set('grant_type', 'client_credentials')
  form.set('client_id', SAIL_CLIENT_ID)
  form.set('client_secret', SAIL_CLIENT_SECRET)
  const answer = await fetch(SAIL_BASE_URL + '/oauth/token', { method: 'POST', body: form })
  assert.equal(answer.status, 200)
  const token = has(await answer.json(), { token_type: 'bearer', scope: 'sp:scopes:all' })
  assert.ok(Number.isInteger(token.expires_in) && token.expires_in > 60, JSON.stringify(token))
  const [beta] = releases(new sail.Configuration({ baseurl: SAIL_BASE_URL, accessToken: token.access_token }))
  assert.ok(Array.isArray(await beta.list()))
})

test('a base that ends in a slash is as good', async () => {
  for (const release of releases(configure(SAIL_CLIENT_ID, SAIL_CLIENT_SECRET, SAIL_BASE_URL + '/'))) {
    const { id } = ok(await release.createAddress(unique('slash') + '@customer.example'), 201)
    assert.ok(Array.isArray(await release.list()))
    nothing(await release.api.deleteVerifiedFromAddress({ id }))
  }
})

test('a wrong secret is the error of the client', async () => {
  for (const [id, secret] of [[SAIL_CLIENT_ID, 'wrong'], [SAIL_CLIENT_ID, SAIL_CLIENT_SECRET_2], ['nobody', SAIL_CLIENT_SECRET], [SAIL_CLIENT_ID, '']]) {
    for (const make of [0, 1]) {
      await assert.rejects(releases(configure(id, secret))[make].list(), error => {
        assert.ok(error instanceof Error && !error.isAxiosError)
        assert.match(error.message, /status code 40[01]$/)
        return true
      })
    }
  }
})

test('a token of nobody is 401', async () => {
  for (const release of releases({ basePath: SAIL_BASE_URL, accessToken: 'nonsense', experimental: true })) {
    for (const call of [() => release.list(), () => release.createAddress('a@customer.example'), () => release.domain('x'), () => release.mailFrom('a@customer.example')]) {
      assert.match((await rejected(call, 401)).data.error, /^JWT validation failed/)
    }
  }
})

test('the experimental release has to be asked for', async () => {
  // Without the flag the client refuses by itself.
  const configuration = configure(SAIL_CLIENT_ID, SAIL_CLIENT_SECRET)
  configuration.experimental = false
  const [beta, v2024] = releases(configuration)
  const email = unique('never') + '@customer.example'
  await assert.rejects(v2024.list(), /Experimental APIs/)
  await assert.rejects(v2024.createAddress(email), /Experimental APIs/)
  assert.equal(await beta.address(email), undefined)

  // Where another value than true is sent, or none, Postseal does.
  configuration.experimental = true
  const create = value => v2024.api.createVerifiedFromAddress({ emailStatusDtoV2024: { email }, xSailPointExperimental: value })
  for (const call of [
    ...['false', '', null].map(value => () => v2024.list({ xSailPointExperimental: value })),
    ...['false', ''].map(value => () => create(value)), // the client knows that null is none
  ]) {
    assert.deepEqual((await rejected(call, 400)).data, { error: 'Experimental Header is missing or invalid.' })
  }
  assert.equal(await beta.address(email), undefined)
  assert.ok(Array.isArray(await v2024.list({ xSailPointExperimental: 'TRUE' })))
})

test('tenants see nothing of each other', async () => {
  const [mine] = releases(configure(SAIL_CLIENT_ID, SAIL_CLIENT_SECRET))
  const [theirs, theirsV2024] = releases(configure(SAIL_CLIENT_ID_2, SAIL_CLIENT_SECRET_2))
  const email = unique('secret') + '@customer.example'
  const { id } = has(ok(await mine.createAddress(email), 201), { id: uuid, verificationStatus: Pending })
  for (const release of [theirs, theirsV2024]) {
    assert.equal(await release.address(email), undefined)
    await refused(() => release.api.deleteVerifiedFromAddress({ id }), '404 Not found')
  }
  // Either may prove the same address.
  const other = ok(await theirs.createAddress(email), 201)
  assert.notEqual(other.id, id)
  nothing(await theirs.api.deleteVerifiedFromAddress({ id: other.id }))
  has(await mine.address(email), { id })
})

test('who may only read is refused', async () => {
  const { id } = await tenant()
  const { beta, v2024 } = await client(id, 'reader')
  for (const release of [beta, v2024]) {
    assert.deepEqual(await release.list(), [])
    await refused(() => release.createAddress('a@customer.example'), '403 Forbidden')
    await refused(() => release.createDomain('customer.example'), '403 Forbidden')
    await refused(() => release.deleteTemplates({ key: 'password_changed' }), '403 Forbidden')
  }
})

test('more than a hundred requests in ten seconds are too many', async () => {
  const { beta, v2024 } = await tenant()
  const answers = await Promise.all(Array.from({ length: 110 }, () => beta.api.listFromAddresses({ limit: 1 }).catch(e => e.response)))
  const late = answers.filter(a => a.status !== 200)
  // On a slow machine ten seconds may pass meanwhile, and all begins anew.
  assert.ok(late.length <= 10, `${late.length} of 110 were refused`)
  for (const { status, headers, data } of late) {
    assert.equal(status, 429)
    assert.deepEqual(data, { message: ' Rate Limit Exceeded ' })
    assert.ok(headers['retry-after'] >= 1 && headers['retry-after'] <= 10, headers['retry-after'])
  }
  assert.deepEqual(await v2024.list(), []) // which has a meter of its own
})
