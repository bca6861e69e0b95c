// trouble.js - a refusal as people need it: what happened, what is missing, and who can give it.
import { session } from "./api.js";
import { command, h } from "./dom.js";
import { word } from "./format.js";

// "User: ARN is not authorized to perform: ACTION on resource: ARN because ..."
function missing(message) {
  const found = /^User: (\S+) is not authorized to perform: (\S+) on resource: (\S+)/.exec(message);
  return found && { user: found[1], action: found[2], resource: found[3] };
}

function right(lack) {
  const statement = { Effect: "Allow", Action: lack.action, Resource: lack.resource };
  const name = lack.user.split("/").pop();
  return [
    h("p", null, "The key is good, but its policy lacks the right ", h("code", null, lack.action), " on ",
      h("code", null, lack.resource), "."),
    h("p", null, "Whoever runs the server can give it: this statement in the policy of the caller ", h("code", null, name),
      ", which the credentials file names (policy = FILE.json). The server reads it again by itself."),
    command(JSON.stringify(statement, null, 1)),
    h("p", null, "To see by which statement it was refused, on the server's machine:"),
    command(`fhirlake policy test --credentials fhirlake-data/credentials --caller ${word(name)} \\\n    --action ${word(lack.action)} ` +
      `--resource ${word(lack.resource)}`),
  ];
}

const ADVICE = {
  NoPage: () => ["The address has a slip in it, or is one of another version of the console."],
  NoAnswer: () => ["Is it still running? It answers at ", h("code", null, `${location.origin}/health`),
    ". Its log says why it ended. This page asks again by itself where it shows something live; elsewhere, try again."],
  UnrecognizedClientException: () => ["The server knows no such access key. The keys it takes stand in the file that its ready " +
    "line names (fhirlake-data/credentials, unless --credentials says otherwise). Sign in with one of them."],
  InvalidSignatureException: () => ["The secret key, the session token or the region is not the one of this access key. " +
    `Sign in with them again; the region of this server is ${session.server?.region}.`],
  ThrottlingException: () => ["More is asked than the server lets one caller ask. Wait a moment, and try again; " +
    "--quotas and the number of jobs that may wait set the limit."],
  ResourceNotFoundException: () => ["It may have been deleted, or never was. Go back to the list."],
  ConflictException: () => ["Something else is being done with it just now. Wait until that has ended, then try again."],
  ValidationException: () => ["Correct what the message names, and send it again."],
  "not-found": () => ["No such resource is in this data store. Was it another data store?"],
  deleted: () => ["It was deleted. Its history may still tell what it was."],
  throttled: () => ["More is asked than the server lets one caller ask. Wait a moment, and try again."],
  timeout: () => ["It took longer than one request may. Ask for less: more criteria, or a smaller _count."],
  login: () => ["The server knows no such key. Sign out, then sign in with one that stands in its credentials file."],
  expired: () => ["The key or its token is over. Sign out, then sign in with a newer one."],
};

const BY_STATUS = {
  413: "What was asked for is too large. Ask for less of it.",
  421: "Open the console under the name that the server knows: with --auth none that is localhost or 127.0.0.1.",
  500: "The server failed. Its log has the reason, under the time of now; whoever runs it can look.",
  503: "The server is busy, or has no room. Try again in a moment.",
  507: "The disk of the server is full. Whoever runs it must make room.",
};

// A box for a page. retry: what its button does again.
export function trouble(fault, retry) {
  if (fault?.name === "AbortError") return h("div");
  const lack = missing(fault.message);
  let advice = null;
  if (lack) advice = right(lack);
  else if (ADVICE[fault.type]) advice = h("p", null, ADVICE[fault.type]());
  else if (BY_STATUS[fault.status]) advice = h("p", null, BY_STATUS[fault.status]);
  else if (fault.status === undefined) advice = h("p", null, "This is a fault of the console itself. A reload helps, most " +
    "likely; please report it with the words above.");
  else if (fault.status === 400) advice = h("p", null, "Correct what the message names, and send it again.");
  return h("div", { class: "trouble", role: "alert" },
    h("h2", null, fault.status ? `Refused (${[fault.status, fault.type].filter(Boolean).join(" ")})` : "That did not work"),
    lack ? null : h("p", { class: "words" }, fault.message), advice,
    retry && h("button", { type: "button", onclick: retry }, "Try again"));
}
