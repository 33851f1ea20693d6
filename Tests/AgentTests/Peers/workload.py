"""A workload with the SPIFFE library from PyPI: says what the Workload API gives it, one line a fact.

Usage: workload.py SOCKET all AUDIENCE | federated TOKEN AUDIENCE | watch COUNT | as UID
"""
import os
import subprocess
import sys
import tempfile
import threading

import grpc
from cryptography.hazmat.primitives.serialization import Encoding
from spiffe import JwtSvid, TrustDomain, WorkloadApiClient
from spiffe._proto import workload_pb2, workload_pb2_grpc

socket, mode = sys.argv[1:3]


def say(*facts):
    print(*facts, flush=True)


def verify(svid, authorities):
    """Whether openssl takes the chain."""
    with tempfile.TemporaryDirectory() as directory:
        def write(name, certificates):
            path = f"{directory}/{name}.pem"
            with open(path, "wb") as file:
                for certificate in certificates:
                    file.write(certificate.public_bytes(Encoding.PEM))
            return path
        result = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", write("roots", authorities),
             "-untrusted", write("chain", svid.cert_chain[1:]), write("leaf", [svid.leaf])],
            capture_output=True, text=True)
    return "verified" if result.returncode == 0 else result.stderr.replace("\n", " ")


def key_matches(svid):
    return svid.private_key.public_key().public_numbers() == svid.leaf.public_key().public_numbers()


def raw(metadata):
    """A call with metadata of our own."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(channel)
        try:
            next(iter(stub.FetchX509SVID(workload_pb2.X509SVIDRequest(), metadata=metadata, timeout=10)))
            return "OK"
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"


if mode == "as":
    # From here on somebody else: the program itself may be where that user cannot read.
    user = int(sys.argv[3])
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    say("call", raw([("workload.spiffe.io", "true")]))
    sys.exit(0)

client = WorkloadApiClient(f"unix:{socket}", default_timeout=20)
if mode == "all":
    audience = sys.argv[3]
    domain = TrustDomain("mesh.test")
    context = client.fetch_x509_context()
    svid = context.default_svid
    bundles = context.x509_bundle_set
    say("svid", svid.spiffe_id, "chain", len(svid.cert_chain), "key", key_matches(svid))
    say("openssl", verify(svid, bundles.get_bundle_for_trust_domain(domain).x509_authorities))
    say("bundles", *sorted(str(bundle.trust_domain) for bundle in client.fetch_x509_bundles().bundles))
    token = client.fetch_jwt_svid({audience})
    say("token", token.spiffe_id, *sorted(token.audience))
    say("again", client.fetch_jwt_svid({audience}).token == token.token)
    keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(domain)
    say("checked", JwtSvid.parse_and_validate(token.token, keys, {audience}).spiffe_id)
    say("validated", client.validate_jwt_svid(token.token, audience).spiffe_id)
    for name, work in [
        ("other-audience", lambda: client.validate_jwt_svid(token.token, "somebody")),
        ("forged", lambda: client.validate_jwt_svid(token.token[:-8] + "AAAAAAAA", audience)),
    ]:
        try:
            work()
            say(name, "taken")
        except Exception as error:
            say(name, "refused", "INVALID_ARGUMENT" in str(error))
    say("no-header", raw([]))
elif mode == "federated":
    token, audience = sys.argv[3:5]
    keys = client.fetch_jwt_bundles()
    say("keys", *[name for name in ["mesh.test", "other.test", "third.test"]
                  if keys.get_bundle_for_trust_domain(TrustDomain(name))])
    other = keys.get_bundle_for_trust_domain(TrustDomain("other.test"))
    say("checked", JwtSvid.parse_and_validate(token, other, {audience}).spiffe_id)
    say("validated", client.validate_jwt_svid(token, audience).spiffe_id)
elif mode == "watch":
    left, done = int(sys.argv[3]), threading.Event()

    def changed(context):
        global left
        svid = context.default_svid
        authorities = context.x509_bundle_set.get_bundle_for_trust_domain(TrustDomain("mesh.test")).x509_authorities
        names = sorted(certificate.subject.rfc4514_string() for certificate in authorities)
        say("update", svid.leaf.serial_number, svid.leaf.issuer.rfc4514_string(), "+".join(names),
            verify(svid, authorities))
        left -= 1
        if left == 0:
            done.set()

    handle = client.stream_x509_contexts(changed, lambda error: say("error", error))
    done.wait(60)
    handle.cancel()
