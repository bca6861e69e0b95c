// node sof.mjs SOF-JS VIEW NDJSON LINES OUT - the rows of the first LINES resources, by SQL on FHIR's reference implementation.
// SOF-JS: the folder sof-js of a checkout of FHIR/sql-on-fhir-v2, with its dependencies. Prints seconds and rows.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, view, file, count, out] = process.argv.slice(2)
const { evaluate } = await import(pathToFileURL(path.join(folder, 'src', 'index.js')))
const definition = JSON.parse(fs.readFileSync(view))
const bytes = Buffer.alloc(Math.min(fs.statSync(file).size, Number(count) * 4096))
fs.readSync(fs.openSync(file), bytes)
const lines = bytes.toString().split('\n').slice(0, Number(count))
const to = fs.openSync(out, 'w')
const began = process.hrtime.bigint()
let rows = 0
for (let at = 0; at < lines.length; at += 1000) {
  const made = evaluate(definition, lines.slice(at, at + 1000).map((line) => JSON.parse(line)))
  rows += made.length
  fs.writeSync(to, made.map((row) => JSON.stringify(row) + '\n').join(''))
}
console.log(Number(process.hrtime.bigint() - began) / 1e9, lines.length, rows)
