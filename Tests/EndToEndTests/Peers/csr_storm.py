"""Asks for certificates as fast as they come, over kills of the server, and prints the serial of each, in hexadecimal.

Usage: csr_storm.py PORT ROOT_CERT CERTIFICATE KEY THREADS
"""
import sys
import threading
import time

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

port, root, certificate, key, threads = sys.argv[1:6]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def varint(number):
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def first_string(message):
    """The first field of the answer: the leaf, PEM."""
    assert message[0] == 0x0A
    length, shift, at = 0, 0, 1
    while True:
        length |= (message[at] & 127) << shift
        at += 1
        if message[at - 1] < 128:
            return message[at:at + length]
        shift += 7


csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(
    ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
request = b"\x0a" + varint(len(csr)) + csr
credentials = grpc.ssl_channel_credentials(read(root), read(key), read(certificate))
lock = threading.Lock()


def ask():
    channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, [
        ("grpc.ssl_target_name_override", "localhost"), ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200),
        ("grpc.use_local_subchannel_pool", 1)])
    call = channel.unary_unary("/istio.v1.auth.IstioCertificateService/CreateCertificate")
    while True:
        try:
            serial = x509.load_pem_x509_certificate(first_string(call(request, timeout=5))).serial_number
            with lock:
                print("%x" % serial, flush=True)
        except grpc.RpcError as error:
            with lock:
                print("-", error.code().name, error.details(), flush=True)
            time.sleep(0.05)


for _ in range(int(threads) - 1):
    threading.Thread(target=ask, daemon=True).start()
ask()
