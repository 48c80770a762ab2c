"""A TLS server whose certificate is for another name than its address."""
import os
import socket
import ssl
import subprocess
import threading

from harness import need_programs


def wrong_name(bench):
    """(HOST:PORT, the certificate's file)"""
    key, certificate = os.path.join(bench.dir, "wrong.key"), os.path.join(bench.dir, "wrong.pem")
    need_programs("openssl")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=wrong.example", "-addext", "subjectAltName=DNS:wrong.example", "-keyout", key, "-out", certificate],
                   check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def shake(connection):
        connection.settimeout(10)
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            connection.close()

    def serve():
        while True:
            threading.Thread(target=shake, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    return "127.0.0.1:%d" % listener.getsockname()[1], certificate
