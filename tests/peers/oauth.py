"""Authlib, requests, requests-oauthlib and PyJWT against a CA: discovery, tokens by certificate and by private_key_jwt, and
a resource server that takes a token only with the certificate it is bound to.
Arguments: issuer, directory of the client, of the service, of somebody else, client id, a URL of a service with our verifier."""

import base64
import hashlib
import http.server
import json
import os
import ssl
import sys
import threading
import time

import jwt
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from cryptography import x509
from joserfc.jwk import ECKey
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session as OauthlibSession

ISSUER, CLIENT, SERVICE, OTHER, CLIENT_ID, OURS = sys.argv[1:]
BUNDLE = os.path.join(CLIENT, "bundle.pem")


def papers(directory):
    return os.path.join(directory, "svid.pem"), os.path.join(directory, "svid.key")


def leaf(directory):
    with open(papers(directory)[0], "rb") as file:
        return x509.load_pem_x509_certificates(file.read())[0]


def discovered():
    answer = requests.get(ISSUER + "/.well-known/openid-configuration", verify=BUNDLE, timeout=20)
    metadata = answer.json()
    assert metadata["issuer"] == ISSUER, metadata
    return metadata


METADATA = discovered()


def with_authlib():
    session = OAuth2Session(CLIENT_ID, token_endpoint_auth_method="none")
    session.cert, session.verify = papers(CLIENT), BUNDLE
    token = session.fetch_token(METADATA["token_endpoint"], grant_type="client_credentials", audience="ledger")
    assert token["token_type"] == "Bearer" and token["expires_in"] > 0, token
    try:
        session.fetch_token(METADATA["token_endpoint"], grant_type="client_credentials", audience="nobody")
    except OAuthError as error:
        assert error.error == "invalid_target", error
    else:
        raise AssertionError("a token for nobody")
    return token["access_token"]


def with_authlib_by_signature(key_file, kid, **shown):
    with open(key_file, encoding="ascii") as file:
        key = ECKey.import_key(file.read())
    for _ in range(10):
        now = int(time.time())
        method = PrivateKeyJWT(
            METADATA["token_endpoint"],
            claims={"aud": ISSUER, "iat": now, "exp": now + 60},
            headers={"kid": kid},
            alg="ES256",
        )
        session = OAuth2Session(CLIENT_ID, client_secret=key, token_endpoint_auth_method=method)
        session.verify = BUNDLE
        try:
            token = session.fetch_token(
                METADATA["token_endpoint"], grant_type="client_credentials", scope="ledger:read", **shown
            )
        except OAuthError as error:
            if "make a new one" not in error.description:
                raise
            time.sleep(1)
        else:
            return token["access_token"]
    raise AssertionError("the server never takes an assertion")


def with_oauthlib():
    session = OauthlibSession(client=BackendApplicationClient(client_id=CLIENT_ID))
    token = session.fetch_token(
        METADATA["token_endpoint"],
        cert=papers(CLIENT),
        verify=BUNDLE,
        include_client_id=True,
        audience="ledger",
    )
    return token["access_token"]


def verified(token):
    context = ssl.create_default_context(cafile=BUNDLE)
    keys = jwt.PyJWKClient(METADATA["jwks_uri"], ssl_context=context)
    key = keys.get_signing_key_from_jwt(token)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    required = {"require": ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]}
    return jwt.decode(token, key, algorithms=["ES256"], audience="ledger", issuer=ISSUER, options=required)


class Ledger(http.server.BaseHTTPRequestHandler):
    """Takes a token with the certificate it is bound to (RFC 8705 section 3)."""

    def do_GET(self):
        try:
            claims = verified(self.headers["Authorization"].removeprefix("Bearer "))
            digest = hashlib.sha256(self.connection.getpeercert(binary_form=True)).digest()
            bound = claims["cnf"]["x5t#S256"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            status = 200 if bound and "ledger:read" in claims["scope"].split(" ") else 403
        except jwt.InvalidTokenError:
            status = 401
        body = json.dumps({"status": status}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def ledger():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers(SERVICE))
    context.load_verify_locations(BUNDLE)
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ledger)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://localhost:{server.server_port}/"


def call(url, directory, token):
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(url, headers=headers, cert=papers(directory), verify=BUNDLE, timeout=20).status_code


def main():
    serial = f"{leaf(CLIENT).serial_number:x}"
    tokens = [
        with_authlib(),
        with_oauthlib(),
        with_authlib_by_signature(papers(CLIENT)[1], serial),
        # A registered key, beside the certificate that the token is bound to.
        with_authlib_by_signature(os.path.join(CLIENT, os.pardir, "deploy.key"), "deploy", cert=papers(CLIENT)),
    ]
    url = ledger()
    for token in tokens:
        claims = verified(token)
        assert claims["sub"] == CLIENT_ID and claims["cs_lineage"].startswith("l-"), claims
        assert call(url, CLIENT, token) == 200
        assert call(url, OTHER, token) == 403, "stolen"
        assert call(OURS, CLIENT, token) == 200
        assert call(OURS, OTHER, token) == 401, "stolen"
        head, body, signature = token.split(".")
        forged = f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
        assert call(url, CLIENT, forged) == 401
        assert call(OURS, CLIENT, forged) == 401
    print("done")


main()
