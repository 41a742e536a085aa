"""`cargo lambda watch` serves all HTTP functions on one port: the router of Cargo.toml, with binaries that are there already and
the emulator as DynamoDB, SQS and S3. Standard input: {"bins": folder}."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import emulator
import local
from stack import ROOT

FUNCTIONS = ("auth", "instances", "whatsapp", "stats", "third-party", "im", "juhe", "chat", "admin", "inbound")
PASSWORD = "a password of the test"
ALTOGETHER = 120

# One route of every function, and what it answers without credentials: no other function would.
ANSWERS = [
    ("auth", "GET", "/api/auth/me", 401, '"code":"UNAUTHORIZED"'),
    ("instances", "GET", "/health", 200, '"status":"ok"'),
    ("instances", "GET", "/api/nowhere", 404, '"code":"NOT_FOUND"'),
    ("instances", "GET", "/api/instances", 401, '"code":"UNAUTHORIZED"'),
    ("whatsapp", "GET", "/api/whatsapp/someone/status", 401, '"code":"UNAUTHORIZED"'),
    ("stats", "DELETE", "/api/stats/user", 405, "METHOD_NOT_ALLOWED"),
    ("third-party", "GET", "/third-party/whatsapp/contacts", 401, '"success":false'),
    ("im", "GET", "/api/v1/im/health", 200, '"success":true'),
    ("juhe", "GET", "/api/contacts", 401, '"success":false'),
    ("chat", "GET", "/api/conversations", 401, '"code":401'),
    ("admin", "GET", "/api/admin/users", 401, '"code":401'),
    ("inbound", "POST", "/api/webhook/wechat", 401, '"code":401'),
]


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, json.dumps(body) if body is not None else None, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def main():
    signal.alarm(ALTOGETHER)
    bins = pathlib.Path(json.load(sys.stdin)["bins"])
    with emulator.running() as aws, contextlib.ExitStack() as processes:
        environment = {**local.make(aws.endpoint, emulator.SECRET), "ENCRYPTION_KEY": "the encryption key of the test", "ADMIN_PASSWORD": PASSWORD}
        port = emulator.free_port()
        logs = pathlib.Path(aws.folder)

        def start(name, command, env):
            out = processes.enter_context((logs / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=emulator.dies_with_us)
            processes.callback(process.wait)
            processes.callback(process.kill)

        tool = pathlib.Path(sys.executable).parent / "cargo-lambda"
        command = [tool, "lambda", "watch", "--only-lambda-apis", "--disable-cors", "-A", "127.0.0.1", "-P", str(port)]
        start("watch", command, {**os.environ, "CARGO_LAMBDA_NO_UPDATE": "1"})
        # A function gives up if nobody listens yet.
        end = time.monotonic() + 30
        while not listens(port):
            if time.monotonic() > end:
                raise SystemExit("cargo lambda watch does not start:\n" + (logs / "watch.log").read_text("utf-8", "replace"))
            time.sleep(0.05)
        for name in FUNCTIONS:
            runtime = {
                "AWS_LAMBDA_RUNTIME_API": f"http://127.0.0.1:{port}/.rt/{name}",
                "AWS_LAMBDA_FUNCTION_NAME": name,
                "AWS_LAMBDA_FUNCTION_VERSION": "1",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            }
            start(name, [bins / name], {**environment, **runtime})
        try:
            for name, method, path, status, part in ANSWERS:
                found = ask(port, method, path, {} if method == "POST" else None)
                assert found[0] == status and part in found[1], f"{name}: {method} {path}: {found}"
            status, text = ask(port, "POST", "/api/auth/login", {"email": "admin@example.com", "password": PASSWORD})
            assert status == 200 and json.loads(text)["user"]["apiKey"], (status, text)
        except BaseException:
            for log in sorted(logs.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text('utf-8', 'replace')[-1500:]}", file=sys.stderr)
            raise


if __name__ == "__main__":
    main()
