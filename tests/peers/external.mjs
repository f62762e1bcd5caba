// oidc-provider as an authorization server that is not ours, and clients of it (openid-client, oauth4webapi) at services with our
// verifier: discovery, client credentials with a resource indicator, JWTs and opaque tokens, a protected call.
// Arguments: directory of the server, of the client, of somebody else, SPIFFE ID of the service.
// Says where the server is, reads where the services are, and goes on.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import https from 'node:https';
import readline from 'node:readline/promises';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import Provider from 'oidc-provider';
import * as openid from 'openid-client';
import { fetchAs, file } from './wire.mjs';

const [serverDir, clientDir, otherDir, serviceId] = process.argv.slice(2);
const bundle = file(clientDir, 'bundle.pem');
const LEDGER = 'https://ledger.example';

const pair = async (kid) => {
  const { publicKey, privateKey } = await jose.generateKeyPair('ES256', { extractable: true });
  const named = async (key) => ({ ...(await jose.exportJWK(key)), kid, alg: 'ES256', use: 'sig' });
  return { privateKey, shown: await named(publicKey), whole: await named(privateKey) };
};
const [clientKey, serviceKey] = [await pair('client'), await pair('service')];

const machine = { redirect_uris: [], response_types: [], id_token_signed_response_alg: 'ES256' };
const buys = { ...machine, grant_types: ['client_credentials'], scope: 'entries.read entries.write' };
const asks = { ...machine, grant_types: [] };
const signs = (key) => ({ token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [key.shown] } });
const clients = [
  { ...buys, ...signs(clientKey), client_id: 'payments', tls_client_certificate_bound_access_tokens: true },
  { ...buys, client_id: 'bearer', client_secret: 'a secret of a client' },
  { ...asks, client_id: 'ledger-secret', client_secret: 'swordfish & chips: 7' },
  { ...asks, ...signs(serviceKey), client_id: 'ledger-signature' },
  {
    ...asks,
    client_id: 'ledger-certificate',
    token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_san_uri: serviceId,
  },
];

// JWTs for one resource, opaque tokens for all others.
const getResourceServerInfo = (_, resource) => ({
  scope: 'entries.read entries.write',
  audience: resource.replace(/\/(jwt|opaque)$/, ''),
  accessTokenFormat: resource.endsWith('/jwt') ? 'jwt' : 'opaque',
  accessTokenTTL: 600,
  jwt: { sign: { alg: 'ES256' } },
});

async function serve(kid) {
  const tls = { cert: file(serverDir, 'svid.pem'), key: file(serverDir, 'svid.key'), ca: bundle };
  const server = https.createServer({ ...tls, requestCert: true, rejectUnauthorized: false });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const shown = (ctx) => ctx.socket.getPeerX509Certificate?.();
  const provider = new Provider(`https://localhost:${server.address().port}`, {
    clients,
    jwks: { keys: [(await pair(kid)).whole] },
    scopes: ['entries.read', 'entries.write'],
    enabledJWA: { clientAuthSigningAlgValues: ['ES256'], idTokenSigningAlgValues: ['ES256'] },
    clientAuthMethods: ['client_secret_basic', 'private_key_jwt', 'tls_client_auth'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId.startsWith('ledger') },
      revocation: { enabled: true, allowedPolicy: (_, client, token) => client.clientId === token.clientId },
      resourceIndicators: { enabled: true, getResourceServerInfo },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        tlsClientAuth: true,
        getCertificate: shown,
        certificateAuthorized: (ctx) => ctx.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) =>
          property === 'tls_client_auth_san_uri' && shown(ctx).subjectAltName === `URI:${expected}`,
      },
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
  server.on('request', provider.callback());
  return { issuer: provider.issuer, server };
}

const [login, foreign] = [await serve('login-1'), await serve('login-1')];

// What a client gets; its certificate is shown at the server, so that a token may be bound to it.
async function openidClient(issuer, clientId, proof, dir) {
  const settings = { [openid.customFetch]: fetchAs(bundle, dir) };
  return openid.discovery(new URL(issuer), clientId, { id_token_signed_response_alg: 'ES256' }, proof, settings);
}
const signed = () => openid.PrivateKeyJwt({ key: clientKey.privateKey, kid: 'client' });

async function bound(kind, scope = 'entries.read', { issuer } = login, audience = LEDGER) {
  const config = await openidClient(issuer, 'payments', signed(), clientDir);
  const grant = await openid.clientCredentialsGrant(config, { resource: `${audience}/${kind}`, scope });
  return { config, token: grant.access_token };
}

// The same by another client, which has a secret and a bearer token.
async function unbound(kind) {
  const at = new URL(login.issuer);
  const options = { [oauth.customFetch]: fetchAs(bundle) };
  const server = await oauth.processDiscoveryResponse(at, await oauth.discoveryRequest(at, options));
  const client = { client_id: 'bearer' };
  const proof = oauth.ClientSecretBasic('a secret of a client');
  const wish = new URLSearchParams({ resource: `${LEDGER}/${kind}`, scope: 'entries.read' });
  const response = await oauth.clientCredentialsGrantRequest(server, client, proof, wish, options);
  return (await oauth.processClientCredentialsResponse(server, client, response)).access_token;
}

async function call(service, token, dir = clientDir) {
  const ask = fetchAs(bundle, dir, { checkServerIdentity: () => undefined, agent: false });
  const response = await ask(`${service}/entries`, { headers: { authorization: `Bearer ${token}` } });
  return [response.status, response.status === 200 ? await response.text() : ''];
}

const changed = (token) => {
  const at = token.lastIndexOf('.') + 5;
  return `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`;
};
const allowed = [200, 'entries for spiffe://login.example/payments'];
const refused = [401, ''];

async function atService(service, kind, otherKind) {
  const { token } = await bound(kind);
  assert.deepEqual(await call(service, token), allowed);
  assert.deepEqual(await call(service, token), allowed, 'again');
  assert.deepEqual(await call(service, token, otherDir), refused, 'stolen');
  assert.deepEqual(await call(service, token, null), refused, 'stolen, and no certificate shown');
  assert.deepEqual(await call(service, changed(token)), refused, 'tampered');
  assert.deepEqual(await call(service, (await bound(kind, 'entries.write')).token), [403, ''], 'carries nothing here');
  const elsewhere = await bound(kind, 'entries.read', login, 'https://other.example');
  assert.deepEqual(await call(service, elsewhere.token), refused, 'for another service');
  assert.deepEqual(await call(service, (await bound(kind, 'entries.read', foreign)).token), refused, 'foreign');
  assert.deepEqual(await call(service, await unbound(kind)), refused, 'bound to nobody');
  assert.deepEqual(await call(service, (await bound(otherKind)).token), refused, `${otherKind} for ${kind}`);
}

console.log(JSON.stringify({
  issuer: login.issuer,
  audience: LEDGER,
  jwks: `${login.issuer}/jwks`,
  introspection: `${login.issuer}/token/introspection`,
  key: await jose.exportPKCS8(serviceKey.privateKey),
}));
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const services = JSON.parse((await lines.next()).value);

await atService(services.keys, 'jwt', 'opaque');
for (const service of services.asked) {
  await atService(service, 'opaque', 'jwt');
  const { config, token } = await bound('opaque');
  await openid.tokenRevocation(config, token);
  assert.deepEqual(await call(service, token), refused, 'revoked');
}
const { token } = await bound('opaque');
console.log(JSON.stringify({ unasked: token, done: true }));
process.exit(0);
