// search_values.mjs ENGINE FOLDER: what each search parameter of FHIR R4 finds in each of FOLDER/examples.ndjson, by HL7's
// FHIRPath engine (the npm package fhirpath, unpacked in ENGINE). tools/fhir_data.py calls it.
//
// One line per example: {"resource": "Type/id", "params": {code: {"type": ..., "values": [elements]}}}. The published
// expressions need readings: a union is cut to the arms that begin with the resource's type, `(x as T)` is
// x.ofType(T), hasExtension(U) is extension(U).exists(), and `.where(resolve() is T)` asks whether the text of the reference has
// T/ in it. Where the engine cannot
// compare what two arms find (a quantity with a comparator), the arms are asked one by one. Left out are composite and
// special parameters, and values that are whole resources. A parameter that finds nothing is absent. Numbers went through a
// double: compare them by value.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [engine, folder] = process.argv.slice(2);
const at = (...names) => path.resolve(engine, ...names);
const { default: fhirpath } = await import(pathToFileURL(at('esm', 'fhirpath.mjs')));
const model = createRequire(import.meta.url)(at('fhir-context', 'r4', 'index.js'));
const lines = name => fs.readFileSync(path.join(folder, name), 'utf8').split('\n').filter(Boolean);

const parameters = lines('SearchParameter.ndjson').map(JSON.parse).filter(p =>
  p.expression && p.type !== 'composite' && p.type !== 'special');

// the arms of a union, cut where no bracket is open
function arms(expression) {
  const found = [];
  let depth = 0, arm = '';
  for (const c of expression) {
    depth += (c === '(') - (c === ')');
    if (c === '|' && depth === 0) {
      found.push(arm);
      arm = '';
    } else arm += c;
  }
  return [...found, arm].map(a => a.trim());
}

function readable(arm) {
  let text = arm.replace(/^\((.*)\)$/, '$1');
  text = text.replace(/^(.*) as ([A-Za-z]+)$/, (_, x, t) => `${x.trim()}.ofType(${t})`);
  text = text.replace(/\(([^()]*) as ([A-Za-z]+)\)/g, (_, x, t) => `${x.trim()}.ofType(${t})`);
  text = text.replace(/\.as\(([A-Za-z]+)\)/g, '.ofType($1)').replace(/ofType\(DateTime\)/g, 'ofType(dateTime)');
  text = text.replace(/\bhasExtension\(('[^']*')\)/g, 'extension($1).exists()');
  return text.replace(/\.where\(resolve\(\) is ([A-Za-z]+)\)/g, ".where(reference.contains('$1/'))");
}

const compiled = new Map();
function compile(type, expression) {
  const own = arms(expression).filter(arm => {
    const head = arm.match(/^\(*([A-Za-z]+)/)?.[1];
    return [type, 'Resource', 'DomainResource'].includes(head) || !/^[A-Z]/.test(head ?? '');
  }).map(readable);
  const one = text => fhirpath.compile(text, model);
  return own.length ? { whole: one(own.join(' | ')), arms: own.map(one) } : { whole: () => [], arms: [] };
}

function find(type, parameter, resource) {
  const key = `${type} ${parameter.url}`;
  if (!compiled.has(key)) compiled.set(key, compile(type, parameter.expression));
  const of = compiled.get(key);
  try {
    return of.whole(resource);
  } catch {
    return of.arms.flatMap(arm => arm(resource));
  }
}

const out = [];
for (const line of lines('examples.ndjson')) {
  const resource = JSON.parse(line), type = resource.resourceType, params = {};
  for (const p of parameters) {
    if (!(p.base ?? []).some(b => b === type || b === 'Resource' || b === 'DomainResource')) continue;
    const values = find(type, p, resource).filter(v => !v?.resourceType);
    if (values.length) params[p.code] = { type: p.type, values };
  }
  out.push(JSON.stringify({ resource: `${type}/${resource.id}`, params }));
}
process.stdout.write(out.join('\n') + '\n');
