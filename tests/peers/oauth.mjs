// openid-client, oauth4webapi and jose against a CA: discovery, tokens by certificate and by private_key_jwt, verification,
// introspection and revocation. Arguments: issuer, directory of the client, of the service, of somebody else, client id.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import * as wire from './wire.mjs';

const [issuer, clientDir, serviceDir, otherDir, clientId] = process.argv.slice(2);
const { file } = wire;
const fetchAs = (dir) => wire.fetchAs(file(clientDir, 'bundle.pem'), dir);
const leaf = (dir) => new crypto.X509Certificate(file(dir, 'svid.pem'));
const thumbprint = (dir) => crypto.createHash('sha256').update(leaf(dir).raw).digest('base64url');
const keys = jose.createRemoteJWKSet(new URL(`${issuer}/oauth2/jwks`), { [jose.customFetch]: fetchAs() });
const verify = (token, audience = 'ledger') =>
  jose.jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt', algorithms: ['ES256'] });

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

  const serviceId = leaf(serviceDir).subjectAltName.replace('URI:', '');
  const service = await openid.discovery(at, serviceId, metadata, openid.TlsClientAuth(), settings(serviceDir));
  assert.equal((await openid.tokenIntrospection(service, grant.access_token)).active, true);
  const otherId = leaf(otherDir).subjectAltName.replace('URI:', '');
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
  await patiently(() => ask({ audience: 'ledger' }, proof, bare));
}

await withOpenidClient();
await withOauth4webapi();
console.log('done');
