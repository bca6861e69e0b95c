// A data store as fhir-kit-client and fhirpath.js see it; every request is signed by aws4.
//   BASE=http://.../datastore/ID/r4 KEY=... SECRET=... node fhir_kit_client.mjs
// Prints a line for each check, "ok" or "not ok", and ends with 1 when one failed.
import assert from 'node:assert/strict'
import aws4 from 'aws4'
import { CapabilityTool, Client } from 'fhir-kit-client'
import fhirpath from 'fhirpath'
import r4 from 'fhirpath/fhir-context/r4/index.js'

const { BASE, KEY, SECRET } = process.env

function sign(url, request) {
  const { host, pathname, search } = new URL(url)
  const signed = aws4.sign({
    host, path: pathname + search, method: request.method, service: 'healthlake', region: 'us-east-1',
    headers: Object.fromEntries(request.headers), body: request.body
  }, { accessKeyId: KEY, secretAccessKey: SECRET })
  for (const [name, value] of Object.entries(signed.headers))
    if (!['host', 'content-length'].includes(name.toLowerCase())) request.headers.set(name, value)
}

const client = new Client({ baseUrl: BASE, requestSigner: sign })
const response = (resource) => Client.httpFor(resource).response
let failed = 0

async function check(name, fn) {
  try {
    await fn()
    console.log(`ok - ${name}`)
  } catch (e) {
    failed++
    console.log(`not ok - ${name}: ${e.message}`)
    if (e.response) console.log(JSON.stringify(e.response.data))
  }
}

async function refused(promise, status, code) {
  const e = await promise.then(() => assert.fail('was not refused'), (x) => x)
  assert.equal(e.response?.status, status, e.message)
  assert.equal(e.response.data.resourceType, 'OperationOutcome')
  assert.equal(e.response.data.issue[0].code, code)
}

const patient = (family, more = {}) => ({ resourceType: 'Patient', name: [{ family, given: ['Ada', 'B.'] }], ...more })
let statement, tool, ada

await check('capabilityStatement, CapabilityTool', async () => {
  statement = await client.capabilityStatement()
  tool = new CapabilityTool(statement)
  assert.equal(tool.resourceCan('Patient', 'read'), true)
  assert.equal(tool.serverCan('history-system'), true)
  assert.equal(tool.resourceSearch('Observation', 'code-value-quantity'), true)
  assert.ok(tool.interactionsFor({ resourceType: 'Patient' }).includes('patch'))
  assert.ok(tool.searchParamsFor({ resourceType: 'Patient' }).includes('birthdate'))
  assert.equal(fhirpath.evaluate(statement, 'CapabilityStatement.rest.resource.count()', null, r4)[0], 146)
})

await check('create, read, vread', async () => {
  ada = await client.create({ resourceType: 'Patient', body: patient('Lovelace', { birthDate: '1815-12-10' }) })
  assert.equal(response(ada).status, 201)
  assert.equal(response(ada).headers.get('etag'), 'W/"1"')
  assert.ok(response(ada).headers.get('location').startsWith(`${BASE}/Patient/${ada.id}`))
  assert.deepEqual({ ...await client.read({ resourceType: 'Patient', id: ada.id }) }, { ...ada })
  assert.deepEqual({ ...await client.vread({ resourceType: 'Patient', id: ada.id, version: '1' }) }, { ...ada })
})

await check('update, by version, and refused with an old one', async () => {
  const body = { ...ada, active: true }
  const done = await client.update({ resourceType: 'Patient', id: ada.id, body, options: { headers: { 'If-Match': 'W/"1"' } } })
  assert.equal(done.meta.versionId, '2')
  await refused(client.update({ resourceType: 'Patient', id: ada.id, body, options: { headers: { 'If-Match': 'W/"1"' } } }),
    412, 'conflict')
})

await check('patch', async () => {
  const done = await client.patch({ resourceType: 'Patient', id: ada.id,
    jsonPatch: [{ op: 'replace', path: '/active', value: false }] })
  assert.equal(done.active, false)
})

await check('FHIRPath Patch', async () => {
  const parameter = (...part) => ({ resourceType: 'Parameters', parameter: [{ name: 'operation', part }] })
  const body = parameter({ name: 'type', valueCode: 'replace' }, { name: 'path', valueString: 'Patient.active' },
    { name: 'value', valueBoolean: true })
  const sent = { method: 'PATCH', body, options: { headers: { 'Content-Type': 'application/fhir+json' } } }
  const done = await client.request(`Patient/${ada.id}`, sent)
  assert.equal(done.active, true)
  body.parameter[0].part[1].valueString = 'Patient.gender'
  await refused(client.request(`Patient/${ada.id}`, sent), 422, 'processing')
})

await check('conditional update', async () => {
  const identifier = [{ system: 'urn:mrn', value: 'kit-1' }]
  const options = { searchParams: { identifier: 'urn:mrn|kit-1' }, resourceType: 'Patient' }
  const made = await client.update({ ...options, body: patient('Once', { identifier }) })
  const again = await client.update({ ...options, body: patient('Twice', { identifier }) })
  assert.equal(again.id, made.id)
  assert.equal(again.meta.versionId, '2')
})

await check('search by GET and by POST', async () => {
  for (let i = 0; i < 25; i++)
    await client.create({ resourceType: 'Observation', body: {
      resourceType: 'Observation', status: 'final', code: { coding: [{ system: 'http://loinc.org', code: '8867-4' }] },
      subject: { reference: `Patient/${ada.id}` }, effectiveDateTime: `2024-01-${String(i + 1).padStart(2, '0')}`,
      valueQuantity: { value: 60 + i, unit: '/min', system: 'http://unitsofmeasure.org', code: '/min' } } })
  for (const postSearch of [false, true]) {
    const found = await client.search({ resourceType: 'Observation', options: { postSearch },
      searchParams: { code: 'http://loinc.org|8867-4', 'value-quantity': 'gt79', subject: `Patient/${ada.id}`, _total: 'accurate' } })
    assert.equal(found.total, 5)
    assert.ok(fhirpath.evaluate(found, 'Bundle.entry.resource.value.all(value > 79)', null, r4)[0])
  }
})

await check('search with modifiers, chains and includes', async () => {
  const found = await client.search({ resourceType: 'Observation', searchParams: {
    'subject:Patient.family:contains': 'ovela', date: ['ge2024-01-10', 'lt2024-01-13'], _include: 'Observation:subject', _sort: '-date' } })
  assert.deepEqual(fhirpath.evaluate(found, "Bundle.entry.where(search.mode='match').resource.effective", null, r4).map(String),
    ['2024-01-12', '2024-01-11', '2024-01-10'])
  assert.deepEqual(fhirpath.evaluate(found, "Bundle.entry.where(search.mode='include').resource.id"), [ada.id])
  assert.equal((await client.search({ resourceType: 'Patient', searchParams: { '_has:Observation:subject:code': '8867-4' } }))
    .entry.length, 1)
})

await check('pages, forward to the end', async () => {
  let bundle = await client.search({ resourceType: 'Observation', searchParams: { subject: `Patient/${ada.id}`, _count: 4 } })
  const seen = new Set()
  let pages = 0
  while (bundle) {
    for (const e of bundle.entry ?? []) seen.add(e.resource.id)
    pages++
    bundle = await client.nextPage({ bundle })
  }
  assert.equal(seen.size, 25)
  assert.equal(pages, 7)
})

await check('systemSearch, compartmentSearch', async () => {
  const all = await client.search({ searchParams: { _id: ada.id } })
  assert.equal(all.entry.length, 1)
  const some = await client.search({ resourceType: 'Observation', compartment: { resourceType: 'Patient', id: ada.id },
    searchParams: { date: '2024-01-05' } })
  assert.equal(some.entry.length, 1)
})

await check('resolve: relative, absolute, contained', async () => {
  const { entry } = await client.search({ resourceType: 'Observation', searchParams: { _count: 1 } })
  const { reference } = entry[0].resource.subject
  assert.equal((await client.resolve({ reference })).id, ada.id)
  assert.equal((await client.resolve({ reference: `${BASE}/${reference}` })).id, ada.id)
})

await check('operations $validate and $everything', async () => {
  const outcome = await client.operation({ name: '$validate', resourceType: 'Patient', input: patient('Fine') })
  assert.equal(outcome.issue[0].severity, 'information')
  const wrong = await client.operation({ name: 'validate', resourceType: 'Patient', input: patient('Bad', { gender: 'blue' }) })
  assert.equal(wrong.issue[0].severity, 'error')
  let bundle = await client.operation({ name: '$everything', resourceType: 'Patient', id: ada.id, method: 'GET', input: { _count: 10 } })
  assert.equal(bundle.total, 26)
  let n = 0
  for (; bundle; bundle = await client.nextPage({ bundle })) n += bundle.entry.length
  assert.equal(n, 26)
})

await check('history of an instance, a type, the system', async () => {
  assert.equal((await client.history({ resourceType: 'Patient', id: ada.id })).entry.length, 4)
  assert.equal((await client.history({ resourceType: 'Patient' })).entry.length, 6)
  assert.equal((await client.history()).entry.length, 31)
})

await check('batch and transaction, where they are offered', async () => {
  const entry = [{ fullUrl: 'urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a', resource: patient('Bundled'),
    request: { method: 'POST', url: 'Patient' } }]
  if (!tool.serverCan('transaction'))
    return refused(client.transaction({ body: { resourceType: 'Bundle', type: 'transaction', entry } }), 405, 'not-supported')
  entry.push({ resource: { resourceType: 'Observation', status: 'final', code: { text: 'x' },
    subject: { reference: entry[0].fullUrl } }, request: { method: 'POST', url: 'Observation' } })
  const done = await client.transaction({ body: { resourceType: 'Bundle', type: 'transaction', entry } })
  assert.equal(done.type, 'transaction-response')
  const at = done.entry[1].response.location.replace(`${BASE}/`, '').split('/')
  const observation = await client.read({ resourceType: 'Observation', id: at[1] })
  assert.equal(observation.subject.reference, done.entry[0].response.location.replace(`${BASE}/`, '').split('/').slice(0, 2).join('/'))
  const batch = await client.batch({ body: { resourceType: 'Bundle', type: 'batch', entry: [
    { request: { method: 'GET', url: `Patient/${ada.id}` } }, { request: { method: 'GET', url: 'Patient/nobody' } }] } })
  assert.equal(batch.type, 'batch-response')
  assert.deepEqual(batch.entry.map((e) => e.response.status.slice(0, 3)), ['200', '404'])
})

await check('delete, and what is gone, unknown, wrong', async () => {
  const made = await client.create({ resourceType: 'Basic', body: { resourceType: 'Basic', code: { text: 'x' } } })
  await client.delete({ resourceType: 'Basic', id: made.id })
  await refused(client.read({ resourceType: 'Basic', id: made.id }), 410, 'deleted')
  await refused(client.read({ resourceType: 'Basic', id: 'nothing' }), 404, 'not-found')
  await refused(client.search({ resourceType: 'Basic', searchParams: { unknown: '1' },
    options: { headers: { Prefer: 'handling=strict' } } }), 400, 'invalid')
})

await check('fhirpath finds in what came back what it finds in what was sent', async () => {
  const sent = patient('Péter', { birthDate: '2001-02', telecom: [{ system: 'phone', value: '1' }, { system: 'email', value: 'a@b' }],
    extension: [{ url: 'http://x', valueDecimal: 0.1 }] })
  const got = await client.create({ resourceType: 'Patient', body: sent })
  for (const path of ['Patient.name.family', "Patient.telecom.where(system='email').value", 'Patient.birthDate',
    "Patient.extension('http://x').value", 'Patient.name.given.first()', 'Patient.name.given.count()'])
    assert.deepEqual(fhirpath.evaluate(got, path, null, r4).map(String), fhirpath.evaluate(sent, path, null, r4).map(String), path)
})

process.exit(failed ? 1 : 0)
