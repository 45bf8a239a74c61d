"""A mail server for tests, or a server that speaks nothing but TLS: aiosmtpd, with certificates of
an authority made here. Writes the authority, the ports and each mail into the directory it is
given, and ends with its standard input."""

import asyncio
import datetime
import ipaddress
import os
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

directory, kind, user, password = sys.argv[1:5]
options = sys.argv[5:]


def write(name, data):
    with open(os.path.join(directory, name + ".part"), "wb") as file:
        file.write(data)
    os.rename(os.path.join(directory, name + ".part"), os.path.join(directory, name))


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def build(subject, issuer, key, signer, authority, days):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    )
    if authority:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        names = [x509.DNSName("elsewhere.example")]
        if "other-name" not in options:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(signer, hashes.SHA256())


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


authority_key = ec.generate_private_key(ec.SECP256R1())
authority = build("test authority", "test authority", authority_key, authority_key, True, 30)
key = ec.generate_private_key(ec.SECP256R1())
days = -1 if "expired" in options else 30
certificate = build("localhost", "test authority", key, authority_key, False, days)
write("ca.pem", pem(authority))
write("cert.pem", pem(certificate))
write(
    "key.pem",
    key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ),
)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem"))


class Keep:
    """Keeps each mail with its envelope."""

    count = 0

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox: " + address
        if address.startswith("full@"):
            return "452 4.2.2 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        head = "from: %s\nto: %s\ntls: %s\nuser: %s\n\n" % (
            envelope.mail_from,
            ",".join(envelope.rcpt_tos),
            "yes" if server.transport.get_extra_info("sslcontext") else "no",
            session.auth_data.decode() if session.authenticated else "",
        )
        write("mail-%d" % Keep.count, head.encode() + envelope.content)
        Keep.count += 1
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    if isinstance(data, LoginPassword):
        if data.login == user.encode() and data.password == password.encode():
            return AuthResult(success=True, auth_data=data.login)
    # A server that repeats what it was sent.
    reply = "535 5.7.8 refused: %r" % (data.password,)
    return AuthResult(success=False, handled=False, message=reply)


class Page(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        pass


if kind == "https":
    server = HTTPServer(("127.0.0.1", 0), Page)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
else:
    arguments = {}
    if kind == "starttls":
        arguments.update(tls_context=context, require_starttls=True)
    if user:
        arguments.update(
            authenticator=authenticate, auth_required=True, auth_require_tls=kind == "starttls"
        )
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        loop.create_server(
            lambda: SMTP(Keep(), hostname="localhost", loop=loop, **arguments),
            host="127.0.0.1",
            port=0,
            ssl=context if kind == "implicit" else None,
        )
    )
    port = server.sockets[0].getsockname()[1]
    threading.Thread(target=loop.run_forever, daemon=True).start()

write("port", str(port).encode())
sys.stdin.read()
os._exit(0)
