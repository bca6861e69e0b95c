// login.js - who is at this tab: an access key, which the page keeps in memory and sends nowhere; and what to do where the
// browser lends no cryptography to sign with.
import { control, forget, session } from "./api.js";
import { command, field, h, input, show } from "./dom.js";
import { trouble } from "./trouble.js";

// A section of a credentials file, pasted into the first field, fills them all.
function pasted(event, fields) {
  const text = event.clipboardData?.getData("text") || "";
  const of = (name) => new RegExp(`${name}["']?\\s*[=:]\\s*["']?([^\\s"',]+)`, "i").exec(text)?.[1];
  const key = of("aws_access_key_id") || of("AccessKeyId"), secret = of("aws_secret_access_key") || of("SecretAccessKey");
  if (!key || !secret) return;
  event.preventDefault();
  fields.key.value = key;
  fields.secret.value = secret;
  fields.token.value = of("aws_session_token") || of("SessionToken") || "";
}

export function login(done) {
  const fields = {
    key: input({ required: true, autocapitalize: "none", name: "key" }),
    secret: input({ type: "password", required: true, name: "secret" }),
    token: input({ type: "password", name: "token" }),
    region: input({ required: true, value: session.server.region, name: "region" }),
  };
  fields.key.addEventListener("paste", (event) => pasted(event, fields));
  const told = h("div");
  const send = h("button", { type: "submit", class: "main" }, "Sign in");

  async function enter(event) {
    event.preventDefault();
    const of = (name) => fields[name].value.trim();
    session.who = { key: of("key"), secret: of("secret"), token: of("token"), region: of("region") };
    send.disabled = true;
    try {
      await control("ListFHIRDatastores", { MaxResults: 1 });
    } catch (fault) {
      // who may not list data stores may still do other things: the key itself was good
      if (fault.type !== "AccessDeniedException") {
        forget();
        send.disabled = false;
        show(told, trouble(fault));
        return;
      }
    }
    done();
  }

  return [
    h("h1", null, "Sign in"),
    h("form", { class: "narrow", onsubmit: enter, autocomplete: "off" },
      h("p", null, "With an access key of this server. It stays in the memory of this tab: each request is signed here, and a ",
        "reload forgets it. You may do what the policy of the key allows."),
      field("Access key ID", fields.key, "Or paste the whole section of a credentials file here."),
      field("Secret access key", fields.secret),
      h("details", null, h("summary", null, "Session token, region"),
        field("Session token", fields.token, "Only of a temporary key."),
        field("Region", fields.region, "The server's own, unless you know better.")),
      told, h("p", null, send)),
    h("section", { class: "narrow" }, h("h2", null, "Where is my key?"),
      h("p", null, "The first start of a server makes one. Its ready line names the file; without --credentials and --data it is"),
      command("cat fhirlake-data/credentials"),
      h("p", null, "Somebody else runs the server? Ask them for a section of that file with a policy of your own.")),
  ];
}

// WebCrypto is there in a secure context alone: over https, or on this machine itself.
export function unsafe() {
  const port = location.port || "80";
  return [
    h("h1", null, "This address cannot be used to sign in"),
    h("p", null, "The console signs its requests in the browser, and browsers lend the cryptography for that only to pages that " +
      "came over https, or from this machine itself. This page came over plain http from ", h("code", null, location.host), "."),
    h("p", null, "Any of these helps:"),
    h("ul", null,
      h("li", null, "Have the server serve https: ", h("code", null, "--tls-certificate FILE --tls-key FILE"), ", or for a try ",
        h("code", null, "--tls self-signed"), ". Then open ", h("code", null, `https://${location.host}/console/`), "."),
      h("li", null, "On the server's machine open ", h("code", null, `http://localhost:${port}/console/`), "."),
      h("li", null, "From another machine bring the port here, and open ", h("code", null, `http://localhost:${port}/console/`), ":")),
    command(`ssh -L ${port}:127.0.0.1:${port} ${location.hostname}`),
  ];
}
