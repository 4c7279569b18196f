"""The engine finds kuryr by a plugin file and speaks TLS with it, each showing a certificate. See suite.py."""

from machine import SOCKET, V4, check

FILES = "/etc/docker/kuryr"  # shared with an engine of another Debian
ELSEWHERE = "/run/kuryr.sock"
SPEC = "/etc/docker/plugins/kuryr.json"
ADDRESS = "127.0.0.1:23750"

CERTIFICATES = f"""set -e; mkdir -p {FILES}; cd {FILES}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
for name in server engine; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
    printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >$name.ext
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
done
cat >kuryr.conf <<'END'
[DEFAULT]
enable_ssl = True
ssl_cert_file = {FILES}/server.pem
ssl_key_file = {FILES}/server.key
[kuryr]
kuryr_uri = https://{ADDRESS}
socket = {ELSEWHERE}
ssl_client_ca_file = {FILES}/ca.pem
spec_file = {SPEC}
spec_ca_file = {FILES}/ca.pem
spec_cert_file = {FILES}/engine.pem
spec_key_file = {FILES}/engine.key
END
"""


def test_the_engine_finds_kuryr_by_its_file_and_speaks_tls(m):
    m.run("sh", "-c", CERTIFICATES)
    m.end_dockerd()
    m.end_kuryr()
    m.serve, m.socket = [*m.SERVE, "--config-file", f"{FILES}/kuryr.conf"], ELSEWHERE
    try:
        m.start_kuryr()
        m.start_dockerd()
        check(m.fails("test", "-e", SOCKET), "there is a socket in the engine's folder, which it would take")
        m.create_network("n", *V4)
        for name in ("c1", "c2"):
            m.start(name, "--expose", "80")
        m.expect_reach("c1", m.inspect("c2")["IPAddress"])
        handshake = f"openssl s_client -connect {ADDRESS} -CAfile {FILES}/ca.pem"
        request = "printf 'POST /Plugin.Activate HTTP/1.0\\r\\n\\r\\n'"
        shown = m.run("sh", "-c", f"{request} | {handshake} -quiet -cert {FILES}/engine.pem -key {FILES}/engine.key 2>/dev/null")
        check("NetworkDriver" in shown, f"a client with a certificate is told: {shown}")
        shown = m.run("sh", "-c", f"{request} | {handshake} -quiet 2>/dev/null || true")
        check("NetworkDriver" not in shown, "a client without a certificate is served")
        m.clean()
        m.end_dockerd()
        m.end_kuryr()
        check(m.fails("test", "-e", SPEC), "the file for the engine is left behind")
    finally:
        m.serve, m.socket = m.SERVE, SOCKET
    m.start_kuryr()
    m.start_dockerd()
