// Templates, what notifications say, and who gets them.
import { assert, both, dkim, has, mailed, nothing, ok, publish, refused, sail, Success, tenant, test, unique, until, uuid } from './lib.mjs'

const mine = await tenant()
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/

/** listed are the templates of a list. */
const listed = async (release, parameters) => ok(await release.api.listNotificationTemplates(parameters))

both(mine, 'defaults are listed, filtered and cut', async release => {
  const list = async parameters => ok(await release.api.listNotificationTemplateDefaults(parameters))
  const all = await list()
  assert.ok(all.length > 2)
  for (const d of all) {
    has(d, { key: /^[a-z_]+$/, name: /./, medium: 'EMAIL', locale: 'en', subject: /./, body: /./, header: null, footer: null, id: undefined })
  }
  const keys = all.map(d => d.key)
  const some = async parameters => (await list(parameters)).map(d => d.key)
  assert.deepEqual(await some({ limit: 2, offset: 1 }), keys.slice(1, 3))
  assert.deepEqual(await some({ filters: `key eq "${keys[2]}"` }), [keys[2]])
  assert.deepEqual((await some({ filters: `key in ("${keys[0]}", "${keys[2]}")` })).sort(), [keys[0], keys[2]].sort())
  assert.deepEqual(await some({ filters: `key sw "${keys[1].slice(0, 4)}"` }), keys.filter(k => k.startsWith(keys[1].slice(0, 4))))
  assert.deepEqual(await some({ filters: 'medium eq "SLACK"' }), [])
  assert.deepEqual(await some({ filters: 'medium sw "EM" and locale sw "e"' }), keys)
  assert.deepEqual(ok(await sail.Paginator.paginate(release.api, release.api.listNotificationTemplateDefaults, {}, 2)).map(d => d.key), keys)
  await refused(() => list({ filters: 'subject eq "x"' }), '400.1.3 Illegal value', /subject/)
})

both(mine, 'templates are written, read, listed and deleted', async release => {
  const [first, second] = ok(await release.api.listNotificationTemplateDefaults({ limit: 2 }))
  assert.deepEqual(await listed(release), [])

  // A default is copied and changed, as the vendor's text says.
  const made = ok(await release.writeTemplate({ ...first, locale: 'de', subject: 'Hallo $recipientName' })) // 200, though it is new
  has(made, { id: uuid, key: first.key, name: first.name, medium: 'EMAIL', locale: 'de', subject: /^Hallo \$\{?recipientName\}?$/, body: first.body, header: null, footer: null, created: time, modified: time })
  const one = async id => ok(await release.api.getNotificationTemplate({ id }))
  assert.deepEqual(await one(made.id), made)

  // What is read can be written again as it is; the key and the locale say which.
  const changed = ok(await release.writeTemplate({ ...made, subject: 'Guten Tag' }))
  has(changed, { id: made.id, subject: 'Guten Tag', created: made.created })
  assert.deepEqual(await one(made.id), changed)

  const others = []
  for (const locale of ['fr', 'es']) others.push(ok(await release.writeTemplate({ key: second.key, medium: 'EMAIL', locale })))
  const ids = async parameters => (await listed(release, parameters)).map(d => d.id).sort()
  const every = [made, ...others].map(d => d.id).sort()
  assert.deepEqual(await ids(), every)
  assert.deepEqual(await ids({ filters: `key eq "${second.key}"` }), others.map(d => d.id).sort())
  assert.deepEqual(await ids({ filters: `key in ("${first.key}") and medium eq "EMAIL"` }), [made.id])
  assert.deepEqual(await ids({ filters: 'locale eq "fr"' }), [others[0].id])
  assert.deepEqual(await ids({ filters: 'locale sw "x"' }), [])
  assert.equal((await listed(release, { limit: 2 })).length, 2)
  assert.equal((await listed(release, { limit: 2, offset: 2 })).length, 1)
  assert.deepEqual(ok(await sail.Paginator.paginate(release.api, release.api.listNotificationTemplates, {}, 1)).map(d => d.id).sort(), every)

  nothing(await release.deleteTemplates({ key: second.key, medium: 'EMAIL', locale: 'es' }, { key: 'nothing' }))
  assert.deepEqual(await ids(), [made, others[0]].map(d => d.id).sort())
  nothing(await release.deleteTemplates({ key: first.key }, { key: second.key }))
  assert.deepEqual(await listed(release), [])
  nothing(await release.deleteTemplates())
  await refused(() => release.api.getNotificationTemplate({ id: made.id }), '404 Not found')
  await refused(() => release.api.getNotificationTemplate({ id: 'nonsense' }), '404 Not found')
})

both(mine, 'what is no template is refused', async release => {
  const [{ key }] = ok(await release.api.listNotificationTemplateDefaults({ limit: 1 }))
  const good = { key, medium: 'EMAIL', locale: 'en' }
  for (const member of Object.keys(good)) {
    await refused(() => release.writeTemplate({ ...good, [member]: undefined }), '400.1.0 Required Data Missing Or Empty', new RegExp(member))
  }
  await refused(() => release.writeTemplate({ ...good, key: 'made_up' }), '400.1.404 Referenced object not found', /made_up/)
  await refused(() => release.writeTemplate({ ...good, medium: 'PHONE' }), '400.1.3 Illegal value', /PHONE/)
  await refused(() => release.writeTemplate({ ...good, locale: 'nonsense?' }), '400.1.3 Illegal value', /./)
  for (const member of ['header', 'footer']) {
    await refused(() => release.writeTemplate({ ...good, [member]: 'x' }), '400.1.1 Illegal update attempt', new RegExp(member))
  }
  await refused(() => release.writeTemplate({ ...good, from: 'a@unproven.example' }), '400.1 Bad Request Content', /unproven/)
  await refused(() => release.deleteTemplates({ locale: 'en' }), '400.1.0 Required Data Missing Or Empty', /key/)
  assert.deepEqual(await listed(release), [])
})

both(mine, 'the context names the tenant', async release => {
  // Only the client's names of the operation differ.
  const context = ok(await (release.api.getNotificationsTemplateContext ?? release.api.getNotificationTemplateContext).call(release.api))
  has(context, { created: time, modified: time })
  has(context.attributes, { productUrl: process.env.SAIL_BASE_URL })
  has(context.attributes.brandingConfigs.default, { productName: /^contract-/, emailFromAddress: /@/ })
})

test('preferences are arrays, with the key in the path and without', async () => {
  const { beta, v2024 } = mine
  const keys = ok(await v2024.api.listNotificationTemplateDefaults()).map(d => d.key)
  const all = ok(await v2024.api.listNotificationPreferences())
  assert.deepEqual(all.map(p => p.key), keys)
  for (const p of all) has(p, { mediums: ['EMAIL'] })
  assert.deepEqual(ok(await beta.api.listNotificationPreferences({ key: keys[1] })), [all[1]])
  await refused(() => beta.api.listNotificationPreferences({ key: 'made_up' }), '404 Not found')
})

both(mine, 'a test notification arrives', async release => {
  const [{ key }] = ok(await release.api.listNotificationTemplateDefaults({ limit: 1 }))
  const recipient = unique('tester') + '@inbox.example'
  const request = { key, medium: 'EMAIL', locale: 'en', context: { recipientName: 'Ada' }, recipientEmailList: [recipient] }
  nothing(await release.sendTest(request))
  const first = await mailed(recipient)
  assert.match(first, /Ada/)

  // From a proven domain, in the tenant's own words.
  const domain = unique('news') + '.example'
  const { dkimTokens } = ok(await release.createDomain(domain))
  for (const record of dkim(domain, dkimTokens)) await publish(...record)
  await until(`${domain} is proven`, async () => (await release.domain(domain)).dkimVerificationStatus === Success)
  ok(await release.createAddress(`noreply@${domain}`), 201)
  ok(await release.writeTemplate({ key, medium: 'EMAIL', locale: 'en', subject: 'About $topic.name', body: '<p>${recipientName}: $5</p>', from: `noreply@${domain}` }))
  nothing(await release.sendTest({ ...request, context: { recipientName: 'Ada & Co', topic: { name: 'engines' } } }))
  const second = await mailed(recipient, first)
  assert.match(second, new RegExp(`^From: .*noreply@${domain}`, 'm'))
  assert.match(second, /^DKIM-Signature: /m)
  nothing(await release.deleteTemplates({ key }))

  for (const member of ['key', 'medium']) {
    await refused(() => release.sendTest({ ...request, [member]: undefined }), '400.1.0 Required Data Missing Or Empty', new RegExp(member))
  }
  await refused(() => release.sendTest({ ...request, key: 'made_up' }), '400.1.404 Referenced object not found', /made_up/)
  // The client's own type has no recipients, which Postseal cannot do without.
  await refused(() => release.sendTest({ key, medium: 'EMAIL' }), '400.1.0 Required Data Missing Or Empty', /recipientEmailList/)
})
