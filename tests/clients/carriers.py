#!/usr/bin/env python3
"""TLS, WebSockets and the PROXY protocol as real peers speak them: the mosquitto commands, openssl,
Paho, MQTT.js in Node and in a browser, with HAProxy and nginx in front.

The authority is made here, for each run anew. Needs Debian's packages openssl, haproxy, nginx-light
and chromium beside those of the other suites, and the directory of MQTT.js in MQTTJS.

    MQTTJS=DIR PYTHON-OF-A-VENV tests/clients/carriers.py [PART-OF-A-TEST-NAME...]
"""

import contextlib
import http.server
import os
import pathlib
import queue
import ssl
import subprocess
import tempfile
import threading
import time

import paho.mqtt.client as paho

from broker import Broker, HOST, accepts, end_with_parent, free_port
from suite import for_each, main, test

PATIENCE_S = 20
HERE = pathlib.Path(__file__).resolve().parent
MQTTJS = pathlib.Path(os.environ.get("MQTTJS", HERE / "mqttjs"))

scratch = tempfile.TemporaryDirectory(prefix="carriers-")
DIR = pathlib.Path(scratch.name)
os.chmod(DIR, 0o755)
PORTS = {name: free_port() for name in (
    "plain", "tls", "mutual", "ws", "wss", "auto", "proxy1", "proxy1_tls", "proxy2", "proxy2_ws",
    "haproxy1", "haproxy1_tls", "haproxy2", "haproxy2_ws", "nginx", "page")}


def run(*command, text="", patience_s=PATIENCE_S, environment=None):
    """Runs a command to its end; gives its exit code and what it printed."""
    done = subprocess.run([str(word) for word in command], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=patience_s, text=True, errors="replace",
                          env=dict(os.environ, **(environment or {})))
    return done.returncode, done.stdout


def openssl(*arguments):
    code, printed = run("openssl", *arguments)
    assert code == 0, f"openssl {arguments}: {printed}"


def make_certificates():
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", DIR / "ca.key", "-out", DIR / "ca.crt", "-days", 9, "-subj", "/CN=Carriers")
    pairs = {
        "server": ("/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\n"),
        "client": ("/O=Acme/CN=sensor-1", "extendedKeyUsage=clientAuth\n"),
    }
    for name, (subject, extensions) in pairs.items():
        (DIR / "extensions").write_text(extensions)
        openssl("req", *key, "-keyout", DIR / f"{name}.key", "-out", DIR / f"{name}.csr", "-subj", subject)
        openssl("x509", "-req", "-in", DIR / f"{name}.csr", "-CA", DIR / "ca.crt", "-CAkey", DIR / "ca.key",
                "-CAcreateserial", "-out", DIR / f"{name}.crt", "-days", 9, "-extfile", DIR / "extensions")
    (DIR / "both.pem").write_text((DIR / "server.crt").read_text() + (DIR / "server.key").read_text())


def configuration():
    tls = f"certfile {DIR}/server.crt\nkeyfile {DIR}/server.key\n"
    mutual = f"{tls}cafile {DIR}/ca.crt\nrequire_certificate true\nuse_identity_as_username true\n"
    listeners = {
        "plain": "",
        "tls": tls,
        "mutual": mutual,
        "ws": "protocol websockets\n",
        "wss": f"protocol websockets\n{tls}",
        "auto": f"protocol auto\n{tls}",
        "proxy1": "enable_proxy_protocol 1\n",
        "proxy1_tls": f"enable_proxy_protocol 1\n{mutual}",
        "proxy2": "enable_proxy_protocol 2\nproxy_protocol_v2_require_tls true\nuse_identity_as_username true\n",
        "proxy2_ws": "enable_proxy_protocol 2\nprotocol websockets\n",
    }
    text = "allow_anonymous true\nlog_type all\nuser root\n"
    for name, lines in listeners.items():
        text += f"listener {PORTS[name]} {HOST}\n{lines}"
    (DIR / "midge.conf").write_text(text)


make_certificates()
configuration()
broker = Broker("carriers", port=PORTS["plain"], arguments=["-c", str(DIR / "midge.conf")])


def logged(words):
    """Waits until the broker's log holds these words."""
    give_up = time.monotonic() + PATIENCE_S
    while words not in broker.log_path.read_text(errors="replace"):
        assert time.monotonic() < give_up, f"'{words}' is not in the log"
        time.sleep(0.05)


@contextlib.contextmanager
def running(port, *command):
    """A program that listens at `port`, ended with the block."""
    log = open(DIR / "program.log", "wb")
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log,
                               stderr=log, preexec_fn=end_with_parent)
    try:
        give_up = time.monotonic() + PATIENCE_S
        while not accepts(port):
            assert process.poll() is None and time.monotonic() < give_up, (DIR / "program.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


# ---- the mosquitto commands, and openssl


def pub(port, *arguments):
    return run("mosquitto_pub", "-h", "localhost", "-p", port, "-t", "carriers/pub", "-m", "hot", *arguments)


def passes(port, *arguments):
    """A message goes from mosquitto_pub to mosquitto_sub."""
    sub = subprocess.Popen(["mosquitto_sub", "-h", "localhost", "-p", str(port), "-t", "carriers/pub", "-C", "1",
                            "-W", str(PATIENCE_S), *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    give_up = time.monotonic() + PATIENCE_S
    while sub.poll() is None:
        code, printed = pub(port, *arguments)
        assert code == 0, printed
        assert time.monotonic() < give_up, "mosquitto_sub got nothing"
        time.sleep(0.3)
    assert sub.communicate()[0] == "hot\n"


@for_each("tls", "auto")
def mosquitto_clients_with_cafile(listener):
    for version in ("tlsv1.2", "tlsv1.3"):
        passes(PORTS[listener], "--cafile", DIR / "ca.crt", "--tls-version", version)


@test
def mosquitto_clients_with_certificates():
    pair = ("--cert", DIR / "client.crt", "--key", DIR / "client.key")
    passes(PORTS["mutual"], "--cafile", DIR / "ca.crt", *pair)
    logged("u'sensor-1'")
    code, _ = pub(PORTS["mutual"], "--cafile", DIR / "ca.crt")
    assert code != 0
    logged("the client showed no certificate")


@test
def mosquitto_clients_that_know_another_authority_say_so():
    code, printed = pub(PORTS["tls"], "--cafile", DIR / "client.crt")
    assert code != 0, printed
    logged("the client does not know the authority of this broker's certificate")


def s_client(port, *arguments):
    return run("openssl", "s_client", "-connect", f"localhost:{port}", "-CAfile", DIR / "ca.crt",
               "-verify_return_error", *arguments, text="Q\n")[1]


@for_each("1_2", "1_3")
def openssl_resumes(version):
    session = DIR / f"session{version}"
    command = ["openssl", "s_client", "-connect", f"localhost:{PORTS['tls']}", "-CAfile", DIR / "ca.crt",
               "-verify_return_error", f"-tls{version}", "-alpn", "mqtt"]
    # The ticket of TLS 1.3 comes behind the handshake: give it a moment.
    first = subprocess.run(["sh", "-c", "sleep 1 | \"$@\"", "sh", *map(str, command), "-sess_out", str(session)],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S).stdout
    assert "New, TLSv1" in first and "ALPN protocol: mqtt" in first, first
    _, again = run(*command, "-sess_in", session, text="Q\n")
    assert "Reused, TLSv1" in again, again


@test
def openssl_with_an_old_version_is_told():
    printed = s_client(PORTS["tls"], "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    assert "alert" in printed, printed
    logged("the client speaks no version of TLS that is spoken here")


@test
def openssl_key_updates_do_no_harm():
    log = s_client(PORTS["tls"], "-tls1_3")
    assert "Verify return code: 0 (ok)" in log, log
    _, printed = run("openssl", "s_client", "-connect", f"localhost:{PORTS['tls']}", "-tls1_3", "-CAfile",
                     DIR / "ca.crt", text="K\nk\nK\nQ\n")
    assert "KEYUPDATE" in printed, printed


# ---- Paho


def paho_goes(port, websockets=False, tls=False, pair=False):
    transport = "websockets" if websockets else "tcp"
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, transport=transport)
    if tls:
        certificate, key = (DIR / "client.crt", DIR / "client.key") if pair else (None, None)
        client.tls_set(str(DIR / "ca.crt"), certificate and str(certificate), key and str(key),
                       cert_reqs=ssl.CERT_REQUIRED)
    got = queue.Queue()
    payload = bytes(300_000)
    client.on_message = lambda _client, _data, message: got.put(message.payload)
    client.on_subscribe = lambda *_: client.publish("carriers/paho", payload, qos=1)
    client.on_connect = lambda *_: client.subscribe("carriers/paho", qos=1)
    client.connect("localhost", port)
    client.loop_start()
    try:
        assert got.get(timeout=PATIENCE_S) == payload
    finally:
        client.disconnect()
        client.loop_stop()


@test
def paho_over_tls():
    paho_goes(PORTS["tls"], tls=True)
    paho_goes(PORTS["mutual"], tls=True, pair=True)


@for_each("ws", "wss", "auto")
def paho_over_websockets(listener):
    paho_goes(PORTS[listener], websockets=True, tls=listener == "wss")


# ---- MQTT.js, in Node and in a browser


@for_each("mqtts/tls", "ws/ws", "wss/wss", "mqtts/auto", "wss/auto", "ws/auto")
def mqttjs_in_node(case):
    protocol, listener = case.split("/")
    code, printed = run("node", MQTTJS / "carriers.mjs", f"{protocol}://localhost:{PORTS[listener]}",
                        environment={"MQTT_CA": str(DIR / "ca.crt")}, patience_s=40)
    assert code == 0 and "ok carriers/js" in printed, printed


class Page(http.server.BaseHTTPRequestHandler):
    """Serves the page and the library, and takes the result."""

    results = queue.Queue()

    def do_GET(self):
        name = {"/": HERE / "page.html", "/mqtt.min.js": MQTTJS / "node_modules/mqtt/dist/mqtt.min.js"}.get(self.path)
        body = name.read_bytes() if name else b""
        self.send_response(200 if name else 404)
        self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.results.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@for_each("ws/ws", "wss/wss", "wss/auto")
def mqttjs_in_chromium(case):
    protocol, listener = case.split("/")
    server = http.server.ThreadingHTTPServer((HOST, PORTS["page"]), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://localhost:{PORTS['page']}/#{protocol}://localhost:{PORTS[listener]}"
    profile = tempfile.mkdtemp(dir=DIR)
    # The certificate is the test's own, which no browser knows.
    browser = subprocess.Popen(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                                "--disable-dev-shm-usage", "--ignore-certificate-errors", f"--user-data-dir={profile}", "--remote-debugging-port=0", address],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=end_with_parent)
    try:
        assert Page.results.get(timeout=40) == "ok carriers/page"
    finally:
        browser.terminate()
        browser.wait()
        server.shutdown()
        server.server_close()


# ---- proxies in front


def haproxy():
    tls = f"ssl crt {DIR}/both.pem ca-file {DIR}/ca.crt verify optional"
    text = "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
    for front, bind, back, send in [
        ("haproxy1", "", "proxy1", "send-proxy"),
        ("haproxy1_tls", "", "proxy1_tls", "send-proxy"),
        ("haproxy2", tls, "proxy2", "send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher"),
        ("haproxy2_ws", "", "proxy2_ws", "send-proxy-v2"),
    ]:
        text += (f"listen {front}\n  bind {HOST}:{PORTS[front]} {bind}\n"
                 f"  server midge {HOST}:{PORTS[back]} {send} check\n")
    (DIR / "haproxy.cfg").write_text(text)
    return running(PORTS["haproxy1"], "/usr/sbin/haproxy", "-db", "-f", DIR / "haproxy.cfg")


@test
def haproxy_in_front():
    pair = ("--cafile", DIR / "ca.crt", "--cert", DIR / "client.crt", "--key", DIR / "client.key")
    with haproxy():
        passes(PORTS["haproxy1"])
        # TLS ends at the broker, behind a header of version 1.
        passes(PORTS["haproxy1_tls"], *pair)
        # TLS ends at HAProxy, which tells of it in a header of version 2.
        before = broker.log_path.read_text().count("u'sensor-1'")
        passes(PORTS["haproxy2"], *pair)
        assert broker.log_path.read_text().count("u'sensor-1'") > before
        code, _ = pub(PORTS["haproxy2"], "--cafile", DIR / "ca.crt")
        assert code != 0, "nobody without a certificate has a name"
        logged("a certificate's name is the username here")
        paho_goes(PORTS["haproxy2_ws"], websockets=True)
        # Its health checks are no errors.
        time.sleep(2.5)
    assert "PROXY header makes no sense" not in broker.log_path.read_text()


@test
def nginx_in_front_of_websockets():
    (DIR / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {DIR}/nginx.pid; error_log {DIR}/nginx.log;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {DIR}/b; proxy_temp_path {DIR}/p; fastcgi_temp_path {DIR}/f;
            uwsgi_temp_path {DIR}/u; scgi_temp_path {DIR}/s;
            server {{
                listen {HOST}:{PORTS["nginx"]};
                location /mqtt {{
                    proxy_pass http://{HOST}:{PORTS["ws"]};
                    proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection upgrade;
                    proxy_set_header X-Forwarded-For 203.0.113.77;
                }}
            }}
        }}""")
    with running(PORTS["nginx"], "/usr/sbin/nginx", "-c", DIR / "nginx.conf", "-e", DIR / "nginx.log"):
        paho_goes(PORTS["nginx"], websockets=True)
        logged("New client connected from 203.0.113.77:0 as ")


main(broker)
