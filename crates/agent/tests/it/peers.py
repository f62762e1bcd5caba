"""A workload in Python, by the packages `spiffe` and `spiffe-tls`: each command is a story that must end well."""

import sys

from cryptography.x509 import SubjectAlternativeName, UniformResourceIdentifier
from spiffe import WorkloadApiClient, X509Source
from spiffetls import ListenOptions, ServerTlsMode, dial, listen

SOCKET, STORY = sys.argv[1], sys.argv[2]


def say(line):
    print(line, flush=True)


def fetch():
    """Every one-shot call."""
    with WorkloadApiClient(SOCKET) as client:
        svid = client.fetch_x509_svid()
        say(f"x509 {svid.spiffe_id} {len(svid.cert_chain)}")
        bundles = client.fetch_x509_bundles()
        say(f"bundle {len(bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain).x509_authorities)}")
        token = client.fetch_jwt_svid(audience={"ledger"})
        say(f"jwt {token.spiffe_id}")
        jwt_bundles = client.fetch_jwt_bundles()
        say(f"jwt-bundle {len(jwt_bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain).jwt_authorities)}")
        good = client.validate_jwt_svid(token=token.token, audience="ledger")
        say(f"valid {good.spiffe_id}")
        try:
            client.validate_jwt_svid(token=token.token, audience="other")
        except Exception as error:
            say(f"refused {type(error).__name__}")


def watch():
    """Rotations, until standard input ends."""
    seen = []
    source = X509Source(socket_path=SOCKET)
    serial = lambda: source.svid.leaf.serial_number

    def updated():
        if serial() not in seen:
            seen.append(serial())
            say(f"rotation {len(seen)}")

    updated()
    source.subscribe_for_updates(updated)
    updated()
    sys.stdin.read()
    source.close()


def serve():
    """An mTLS server that answers one line for each connection, until it is killed."""
    source = X509Source(socket_path=SOCKET)
    listener = listen("127.0.0.1:0", source, ListenOptions(tls_mode=ServerTlsMode.MTLS))
    say(f"port {listener.getsockname()[1]}")
    while True:
        connection, _ = listener.accept()
        try:
            connection.do_handshake()
            peer = connection.get_peer_certificate().to_cryptography()
            connection.sendall(f"hello {uri_of(peer)}\n".encode())
            connection.shutdown()
        except Exception as error:
            say(f"broken {error!r}")
        connection.close()


def call():
    """An mTLS client: calls the port and says what it heard."""
    source = X509Source(socket_path=SOCKET)
    connection = dial(f"127.0.0.1:{sys.argv[3]}", source)
    say(connection.recv(200).decode().strip())
    connection.close()
    source.close()


def uri_of(certificate):
    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    return names.get_values_for_type(UniformResourceIdentifier)[0]


{"fetch": fetch, "watch": watch, "serve": serve, "call": call}[STORY]()
