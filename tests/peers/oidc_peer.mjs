// An authorization server for tests: oidc-provider of npm, unchanged, with the clients and scopes that a test wants.
//
//   node oidc_peer.mjs FOLDER OPTIONS
//
// FOLDER holds node_modules/oidc-provider (./dev brings it into .deps/oidc). OPTIONS is JSON:
// {"scopes": [...], "alg": "RS256", "patient": "p1"}. Prints {"issuer": URL}; ends with its input.
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, text] = process.argv.slice(2);
const options = JSON.parse(text);
const { default: Provider } = await import(pathToFileURL(path.join(folder, 'node_modules/oidc-provider/lib/index.js')));
const pair = options.alg.startsWith('ES')
  ? generateKeyPairSync('ec', { namedCurve: { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[options.alg] })
  : options.alg === 'EdDSA' ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...pair.privateKey.export({ format: 'jwk' }), kid: 'k1', use: 'sig', alg: options.alg };
const rsa = { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: 'k0', use: 'sig', alg: 'RS256' };
const scope = options.scopes.join(' ');
const client = (id) => ({ client_id: id, client_secret: `secret-of-${id}`, grant_types: ['client_credentials'], redirect_uris: [],
  response_types: [], token_endpoint_auth_method: 'client_secret_basic', scope });

const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [client('jwt'), client('opaque'), { ...client('resource-server'), scope: undefined }],
    jwks: { keys: [key, rsa] },
    scopes: ['openid', ...options.scopes],
    extraTokenClaims: async () => (options.patient ? { patient: options.patient } : undefined),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: async (ctx, resource, who) => ({
          scope, audience: resource, accessTokenTTL: 300,
          accessTokenFormat: who.clientId === 'opaque' ? 'opaque' : 'jwt', jwt: { sign: { alg: options.alg } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});
process.stdin.on('end', () => process.exit(0)).resume();
