// openid-client, oauth4webapi and jose against a CA: discovery, tokens by certificate and by private_key_jwt, verification,
// protected calls, introspection and revocation. Arguments: issuer, directory of the client, of the service, of somebody else,
// client id, a URL of a service with our verifier.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import https from 'node:https';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import * as wire from './wire.mjs';

const [issuer, clientDir, serviceDir, otherDir, clientId, ours] = process.argv.slice(2);
const { file } = wire;
const fetchAs = (dir) => wire.fetchAs(file(clientDir, 'bundle.pem'), dir);
// Of an answer, or of the challenge that these clients throw for one.
const status = (answer) => answer.status ?? Promise.reject(answer);
const leaf = (dir) => new crypto.X509Certificate(file(dir, 'svid.pem'));
const spiffeId = (dir) => /URI:([^,]+)/.exec(leaf(dir).subjectAltName)[1];
const thumbprint = (dir) => crypto.createHash('sha256').update(leaf(dir).raw).digest('base64url');
const keys = jose.createRemoteJWKSet(new URL(`${issuer}/oauth2/jwks`), { [jose.customFetch]: fetchAs() });
const verify = (token, audience = 'ledger') =>
  jose.jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt', algorithms: ['ES256'] });

// A service of jose's: takes a token with the certificate it is bound to (RFC 8705 section 3).
async function joseLedger() {
  const tls = { cert: file(serviceDir, 'svid.pem'), key: file(serviceDir, 'svid.key'), ca: file(clientDir, 'bundle.pem') };
  const server = https.createServer({ ...tls, requestCert: true }, async (request, response) => {
    try {
      const { payload } = await verify(request.headers.authorization.replace('Bearer ', ''));
      const shown = crypto.createHash('sha256').update(request.socket.getPeerX509Certificate().raw).digest('base64url');
      const may = payload.cnf['x5t#S256'] === shown && payload.scope.split(' ').includes('ledger:read');
      response.statusCode = may ? 200 : 403;
    } catch {
      response.statusCode = 401;
    }
    response.end();
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return `https://localhost:${server.address().port}/entries`;
}
const theirs = await joseLedger();

// What `call` gets at both services, with the caller's own certificate, with another one, and after a change.
async function protectedCalls(token, call) {
  const forged = `${token.slice(0, -4)}${token.at(-4) === 'A' ? 'B' : 'A'}${token.slice(-3)}`;
  for (const [service, stolen] of [[theirs, 403], [ours, 401]]) {
    assert.equal(await call(service, token, clientDir), 200, service);
    assert.equal(await call(service, token, otherDir), stolen, service);
    assert.equal(await call(service, forged, clientDir), 401, service);
  }
}

// A server that has just started says when it takes assertions.
async function patiently(ask) {
  for (let turn = 0; ; turn++) {
    try {
      return await ask();
    } catch (error) {
      const text = JSON.stringify(error.cause ?? {}) + error.message + (error.error_description ?? '');
      if (turn > 10 || !text.includes('make a new one')) throw error;
      await new Promise((wake) => setTimeout(wake, 1000));
    }
  }
}

async function withOpenidClient() {
  const settings = (dir) => ({ [openid.customFetch]: fetchAs(dir), algorithm: 'oauth2' });
  const metadata = { use_mtls_endpoint_aliases: true };
  const at = new URL(issuer);
  const mtls = await openid.discovery(at, clientId, metadata, openid.TlsClientAuth(), settings(clientDir));
  const grant = await openid.clientCredentialsGrant(mtls, { resource: 'urn:countersign:service:ledger' });
  assert.equal(grant.token_type, 'bearer');
  const { payload } = await verify(grant.access_token);
  assert.equal(payload.sub, clientId);
  assert.equal(payload.cnf['x5t#S256'], thumbprint(clientDir));
  await assert.rejects(verify(grant.access_token, 'post'), { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED' });

  const call = async (service, token, dir) => {
    const config = await openid.discovery(at, clientId, metadata, openid.TlsClientAuth(), settings(dir));
    return openid.fetchProtectedResource(config, token, new URL(service), 'GET').then(status, status);
  };
  await protectedCalls(grant.access_token, call);

  const serviceId = spiffeId(serviceDir);
  const service = await openid.discovery(at, serviceId, metadata, openid.TlsClientAuth(), settings(serviceDir));
  assert.equal((await openid.tokenIntrospection(service, grant.access_token)).active, true);
  const otherId = spiffeId(otherDir);
  const other = await openid.discovery(at, otherId, metadata, openid.TlsClientAuth(), settings(otherDir));
  assert.deepEqual(await openid.tokenIntrospection(other, grant.access_token), { active: false });
  await openid.tokenRevocation(mtls, grant.access_token);
  assert.deepEqual(await openid.tokenIntrospection(service, grant.access_token), { active: false });

  // Not over mutual TLS: the signature alone proves who asks.
  const key = await jose.importPKCS8(file(clientDir, 'svid.key').toString(), 'ES256');
  const kid = leaf(clientDir).serialNumber.toLowerCase();
  const signing = await openid.discovery(at, clientId, {}, openid.PrivateKeyJwt({ key, kid }), settings());
  const signed = await patiently(() => openid.clientCredentialsGrant(signing, { scope: 'ledger:read' }));
  assert.equal((await verify(signed.access_token)).payload.cnf['x5t#S256'], thumbprint(clientDir));
  await protectedCalls(signed.access_token, call);
}

async function withOauth4webapi() {
  const at = new URL(issuer);
  const options = { [oauth.customFetch]: fetchAs(clientDir) };
  const found = await oauth.discoveryRequest(at, { ...options, algorithm: 'oauth2' });
  const server = await oauth.processDiscoveryResponse(at, found);
  const client = { client_id: clientId, use_mtls_endpoint_aliases: true };
  const ask = (parameters, proof = oauth.TlsClientAuth(), settings = options) =>
    oauth
      .clientCredentialsGrantRequest(server, client, proof, new URLSearchParams(parameters), settings)
      .then((response) => oauth.processClientCredentialsResponse(server, client, response));
  const grant = await ask({ audience: 'ledger', scope: 'ledger:read' });
  assert.equal(grant.scope, 'ledger:read');
  assert.equal((await verify(grant.access_token)).payload.scope, 'ledger:read');
  await assert.rejects(ask({ audience: 'nobody' }), { error: 'invalid_target' });
  await assert.rejects(ask({ scope: 'ledger:nothing' }), { error: 'invalid_scope' });
  await assert.rejects(ask({ audience: 'ledger' }, oauth.TlsClientAuth(), { [oauth.customFetch]: fetchAs() }), {
    status: 401,
  });
  const key = await jose.importPKCS8(file(clientDir, 'svid.key').toString(), 'ES256');
  const proof = oauth.PrivateKeyJwt({ key, kid: leaf(clientDir).serialNumber.toLowerCase() });
  const bare = { [oauth.customFetch]: fetchAs() };
  const bySignature = await patiently(() => ask({ audience: 'ledger' }, proof, bare));
  const call = (service, token, dir) =>
    oauth
      .protectedResourceRequest(token, 'GET', new URL(service), undefined, undefined, { [oauth.customFetch]: fetchAs(dir) })
      .then(status, status);
  await protectedCalls(grant.access_token, call);
  await protectedCalls(bySignature.access_token, call);
}

await withOpenidClient();
await withOauth4webapi();
console.log('done');
process.exit(0);
