// What the scripts share: the vendor's client for the two releases that it speaks,
// made as its users make it, a tenant of one's own, Postseal's development controls,
// and how answers are judged.
import assert from 'node:assert/strict'
import test from 'node:test'
import sail from 'sailpoint-api-client'

export { assert, sail, test }

const { POSTSEAL_URL, POSTSEAL_OPERATOR_KEY } = process.env

/** What `postseal dev` calls its service: where the DKIM tokens' records point. */
export const service = 'mail.postseal.test'

export const { Pending, Success, Failed } = sail.EmailStatusDtoV2024VerificationStatusV2024

export const sleep = ms => new Promise(done => setTimeout(done, ms))

let made = 0
const run = Date.now().toString(36)

/** A name that nothing else here has. */
export const unique = prefix => `${prefix}-${run}-${process.pid}-${++made}`

/** Release is the client's API of one release; what the two name differently has one name here. */
export class Release {
  constructor(Api, suffix, configuration) {
    this.name = suffix
    this.api = new Api(configuration)
  }

  of(type, value) {
    return { [type + this.name]: value }
  }

  createAddress(email, others) {
    return this.api.createVerifiedFromAddress(this.of('emailStatusDto', { email, ...others }))
  }

  /** list answers the addresses. */
  async list(parameters) {
    return ok(await this.api.listFromAddresses(parameters))
  }

  /** address answers the one of that name, undefined if there is none. */
  async address(email) {
    return (await this.list({ filters: `email eq "${email}"` }))[0]
  }

  createDomain(domain) {
    return this.api.createDomainDkim(this.of('domainAddress', { domain }))
  }

  /** domain answers the one of that name as the list has it. */
  async domain(name) {
    return ok(await this.api.getDkimAttributes()).find(d => d.address === name)
  }

  mailFrom(identity) {
    return this.api.getMailFromAttributes(this.name === 'Beta' ? { identityId: identity } : { id: identity })
  }

  setMailFrom(identity, mailFromDomain) {
    return this.api.putMailFromAttributes(this.of('mailFromAttributesDto', { identity, mailFromDomain }))
  }

  writeTemplate(template) {
    return this.api.createNotificationTemplate(this.of('templateDto', template))
  }

  deleteTemplates(...ids) {
    return this.api.deleteNotificationTemplatesInBulk(this.of('templateBulkDeleteDto', ids))
  }

  sendTest(request) {
    return this.api.sendTestNotification(this.of('sendTestNotificationRequestDto', request))
  }
}

/** configure makes the client's configuration. The flag is no parameter: users set it afterwards. */
export function configure(id, secret, base = process.env.SAIL_BASE_URL) {
  const c = new sail.Configuration({ baseurl: base, clientId: id, clientSecret: secret, tokenUrl: base + '/oauth/token' })
  c.experimental = true
  return c
}

/** releases are both APIs of a configuration. */
export const releases = configuration => [
  new Release(sail.NotificationsBetaApi, 'Beta', configuration),
  new Release(sail.NotificationsV2024Api, 'V2024', configuration),
]

/** tenant makes a tenant of one's own: the lists are empty, and so is the meter of requests. */
export async function tenant() {
  const { id } = await operate('POST', '/v1/tenants', { name: unique('contract') })
  return { id, ...(await client(id)) }
}

/** client makes a client of a tenant. */
export async function client(tenantID, role = 'admin') {
  const made = await operate('POST', `/v1/tenants/${tenantID}/credentials`, {
    kind: 'oauth-client', name: unique('client'), grants: [{ tenant: tenantID, role }],
  })
  const [beta, v2024] = releases(configure(made.id, made.secret))
  return { beta, v2024 }
}

/** both runs a test with each release. */
export function both({ beta, v2024 }, name, body) {
  for (const release of [beta, v2024]) test(`${name}, ${release.name}`, () => body(release))
}

/** operate calls Postseal with the operator's key. */
export async function operate(method, path, body) {
  const answer = await fetch(POSTSEAL_URL + path, {
    method, body: body && JSON.stringify(body),
    headers: { Authorization: `Bearer ${POSTSEAL_OPERATOR_KEY}`, ...(body && { 'Content-Type': 'application/json' }) },
    signal: AbortSignal.timeout(10_000),
  })
  const text = await answer.text()
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`)
  return answer.headers.get('Content-Type')?.startsWith('application/json') ? JSON.parse(text) : text
}

/** publish puts a record into the world's DNS. */
export const publish = (name, type, value, priority) => operate('POST', '/dev/dns', { name, type, value, ...(priority && { priority }) })

export const unpublish = (name, type, value) => operate('DELETE', '/dev/dns', { name, type, value })

/** dkim are the records that the tokens of a domain ask for. */
export const dkim = (domain, tokens) => tokens.map(token => [`${token}._domainkey.${domain}`, 'CNAME', `${token}.dkim.${service}`])

/** newest is the newest raw mail for an address, empty if there is none. */
export const newest = address => operate('GET', '/dev/mail/' + encodeURIComponent(address))

/** mailed waits for a mail that has not been seen. */
export const mailed = (address, seen = '') => until(`mail for ${address}`, async () => {
  const raw = await newest(address)
  return raw !== seen && raw
})

/** linkIn is the one to the page where an address is confirmed, the lines of quoted-printable joined. */
export function linkIn(raw) {
  const link = raw.replace(/=\r?\n/g, '').match(/https?:\/\/\S+\/confirm\/[\w.~-]+/)
  assert.ok(link, 'no link in the mail:\n' + raw)
  return link[0]
}

/** until repeats a look for 30 seconds at most, and answers what it saw. */
export async function until(what, look) {
  for (const end = Date.now() + 30_000; ; await sleep(250)) {
    const seen = await look()
    if (seen) return seen
    assert.ok(Date.now() < end, 'waited in vain: ' + what)
  }
}

/** ok takes the value out of an answer. */
export function ok(answer, status = 200) {
  assert.equal(answer.status, status)
  if (status !== 204) assert.match(answer.headers['content-type'], /^application\/json\b/)
  return answer.data
}

/** nothing is what 204 brings. */
export const nothing = answer => assert.equal(ok(answer, 204), '')

export const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** rejected is the answer with which the promise of a call was rejected. */
export async function rejected(call, status) {
  const error = await call().then(answer => assert.fail(`${answer.status} ${JSON.stringify(answer.data)}, want ${status}`), e => e)
  assert.ok(error.isAxiosError && error.response, error.stack)
  assert.equal(error.response.status, status, JSON.stringify(error.response.data))
  assert.match(error.response.headers['content-type'], /^application\/json\b/)
  assert.match(error.response.headers['slpt-request-id'], /^[0-9a-f]{32}$/)
  return error.response
}

/** refused demands the error object, with a code and something that its causes say. */
export async function refused(call, detailCode, cause) {
  const { data, headers } = await rejected(call, Number(detailCode.slice(0, 3)))
  assert.equal(data.detailCode, detailCode, JSON.stringify(data))
  assert.match(data.trackingId, /^[0-9a-f]{32}$/)
  assert.equal(data.trackingId, headers['slpt-request-id'])
  assert.notEqual(data.messages.length, 0)
  for (const m of [...data.messages, ...(data.causes ?? [])]) {
    assert.ok(['DEFAULT', 'REQUEST', null].includes(m.localeOrigin), JSON.stringify(m))
    assert.ok(m.text && (m.locale === null || typeof m.locale === 'string'), JSON.stringify(m))
  }
  if (cause) assert.match(data.causes.map(c => c.text).join('\n'), cause)
}

/** has demands these members of these values; there may be more. */
export function has(got, want) {
  for (const [name, value] of Object.entries(want)) {
    if (value instanceof RegExp) assert.match(String(got?.[name]), value, `${name} of ${JSON.stringify(got)}`)
    else assert.deepEqual(got?.[name], value, `${name} of ${JSON.stringify(got)}`)
  }
  return got
}
