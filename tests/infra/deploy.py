"""The template, deployed: into ministack, with the real binaries, without containers, and with policies enforced, so that a
function which its role forbids something fails. Then it is used as a client would. Standard input: {"bins": folder}.

What differs from a deployment on AWS, and why:

* code: the suite's binaries, stripped, instead of what `sam build` makes;
* `WorkerImage` stays empty: the emulator's ECS wants containers, and it has no Application Auto Scaling. The worker runs as a
  process of this machine, under the credentials of its role;
* policies name the batch forms of SQS's actions, too: on AWS `sqs:SendMessage` allows `SendMessageBatch`, and so on;
* policies name the secret by a pattern: `Ref` of a secret is its ARN on AWS, and its name in the emulator;
* the bucket's policy, which refuses whoever comes without TLS, is left out: here everybody does;
* `WEBSOCKET_MANAGEMENT_URL`: the emulator's, which has the API in the path and not in the host's name;
* `OUTBOUND_ALLOW`: the receiver of webhooks is on this machine.
"""

import concurrent.futures
import http.client
import http.server
import io
import json
import pathlib
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import emulator
import wsproto
import wsproto.events
from stack import ACCOUNT, REGION, STACK, written

PASSWORD = "a password of the test"
ONLY_HERE = {"OUTBOUND_ALLOW": "loopback"}
BATCHES = {f"sqs:{one}": f"sqs:{one}Batch" for one in ("SendMessage", "DeleteMessage", "ChangeMessageVisibility")}
# How long anything may take until it shows, and all of it together.
PATIENCE, ALTOGETHER = 30, 240


def say(text, began=time.monotonic()):
    print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)


def packed(binary):
    """The zip that Lambda wants. Not compressed: it goes nowhere."""
    with tempfile.NamedTemporaryFile() as small:
        subprocess.run(["strip", "-o", small.name, binary], check=True)
        stripped = pathlib.Path(small.name).read_bytes()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, stripped)
    return out.getvalue()


def deploy(aws, bins):
    template = written()
    del template["Resources"]["MediaPolicy"]
    sockets = {"Fn::Sub": aws.endpoint + "/_aws/execute-api/${SocketApi}/ws"}
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": REGION})
    functions = [one for one in template["Resources"].values() if isinstance(one, dict) and one["Type"] == "AWS::Serverless::Function"]
    folders = [one["Properties"]["CodeUri"] for one in functions]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        zips = dict(zip(folders, pool.map(lambda folder: packed(bins / folder.rsplit("/", 1)[1]), folders)))
    for resource in template["Resources"].values():
        # Loops are lists.
        kind = resource["Type"] if isinstance(resource, dict) else None
        if kind == "AWS::IAM::Role":
            for statement in resource["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]:
                if statement["Resource"] == {"Ref": "Secrets"}:
                    statement["Resource"] = {"Fn::Sub": "arn:aws:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${AWS::StackName}/settings-??????"}
                statement["Action"] += [BATCHES[one] for one in statement["Action"] if one in BATCHES]
        if kind == "AWS::Serverless::Function":
            folder = resource["Properties"]["CodeUri"]
            key = folder.rsplit("/", 1)[1] + ".zip"
            s3.put_object(Bucket="code", Key=key, Body=zips.pop(folder))
            resource["Properties"]["CodeUri"] = {"Bucket": "code", "Key": key}
    template["Globals"]["Function"]["Environment"]["Variables"].update(ONLY_HERE, WEBSOCKET_MANAGEMENT_URL=sockets)
    s3.put_object(Bucket="code", Key="template.json", Body=json.dumps(template).encode())
    say("packed")

    stacks = aws.client("cloudformation")
    stacks.create_stack(
        StackName=STACK,
        TemplateURL=f"{aws.endpoint}/code/template.json",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            {"ParameterKey": "DataDeletionPolicy", "ParameterValue": "Delete"},
            {"ParameterKey": "Registration", "ParameterValue": "open"},
        ],
    )
    end = time.monotonic() + 60
    while True:
        (stack,) = stacks.describe_stacks(StackName=STACK)["Stacks"]
        if stack["StackStatus"] != "CREATE_IN_PROGRESS":
            break
        assert time.monotonic() < end, "the stack does not get ready"
        time.sleep(0.2)
    if stack["StackStatus"] != "CREATE_COMPLETE":
        events = stacks.describe_stack_events(StackName=STACK)["StackEvents"]
        bad = [f"{one['LogicalResourceId']}: {one.get('ResourceStatusReason')}" for one in events if "FAILED" in one["ResourceStatus"]]
        raise SystemExit(f"{stack['StackStatus']}\n" + "\n".join(bad))
    return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}


class Api:
    """The deployed HTTP API."""

    def __init__(self, aws, url):
        self.port = aws.port
        self.host = re.match(r"https://([a-z0-9]+)\.execute-api\.", url)[1] + f".execute-api.localhost:{aws.port}"
        self.credential = {}

    def call(self, method, path, body=None, headers=None):
        """(status, body)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        every = {"host": self.host, **self.credential, **(headers or {})}
        if raw is not None:
            every.setdefault("content-type", "application/json")
        connection.request(method, path, raw, every)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = (answer.headers.get("content-type") or "").startswith("application/json")
        return answer.status, json.loads(text) if is_json and text else text

    def want(self, status, method, path, body=None, **more):
        found, answer = self.call(method, path, body, **more)
        assert found == status, f"{method} {path}: {found} instead of {status}: {answer}"
        return answer


class Socket:
    """A client of the deployed WebSocket API: texts only, one connection."""

    def __init__(self, aws, url, token):
        host = re.match(r"wss://([a-z0-9]+)\.execute-api\.", url)[1] + f".execute-api.localhost:{aws.port}"
        self.wire = socket.create_connection(("127.0.0.1", aws.port), timeout=PATIENCE)
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.wire.sendall(self.protocol.send(wsproto.events.Request(host=host, target=f"/ws?token={token}")))
        assert isinstance(self.next(), wsproto.events.AcceptConnection), "the socket opens"

    def next(self):
        """The next event of the protocol."""
        while True:
            for event in self.protocol.events():
                return event
            self.protocol.receive_data(self.wire.recv(65_536) or None)

    def say(self, frame):
        self.wire.sendall(self.protocol.send(wsproto.events.TextMessage(json.dumps(frame))))

    def hear(self, kind):
        """The next frame of that type."""
        text = ""
        while True:
            event = self.next()
            assert isinstance(event, (wsproto.events.TextMessage, wsproto.events.Ping)), event
            if isinstance(event, wsproto.events.TextMessage):
                text += event.data
                if event.message_finished:
                    frame, text = json.loads(text), ""
                    if frame["type"] == kind:
                        return frame


def until(what, look):
    end = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"{what} does not show within {PATIENCE} s"
        time.sleep(0.1)


class Receiver:
    """Takes webhooks."""

    def __init__(self):
        events = self.events = queue.Queue()

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                events.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def use(aws, api, receiver, outputs):
    """Every function answers, and what goes through the queues arrives. Returns the sandbox instance's id."""
    # `GET /health` is the one route that the emulator answers itself.
    assert api.want(200, "GET", "/openapi.json")["openapi"].startswith("3.")
    api.want(200, "GET", "/ready")
    login = api.want(200, "POST", "/api/auth/login", {"email": "admin@example.com", "password": PASSWORD})
    me, api.credential = login["user"]["id"], {"x-api-key": login["user"]["apiKey"]}
    say("auth, instances: logged in")

    made = api.want(201, "POST", "/api/instances", {"name": "shop", "mode": "sandbox"})
    shop = made["id"]
    api.want(200, "GET", f"/api/instances/{shop}")
    api.want(200, "GET", "/api/stats/user")
    api.want(200, "GET", f"/api/whatsapp/{shop}/status")
    api.want(200, "GET", f"/third-party/whatsapp/contacts/list?userId={me}")
    api.want(400, "GET", "/api/contacts")
    api.want(200, "GET", "/api/admin/users")
    api.want(200, "POST", "/api/webhook/wechat", {"event": "something else", "data": {}})
    api.want(404, "GET", "/api/nowhere")
    api.want(405, "DELETE", "/api/auth/login")
    say("whatsapp, stats, third-party, juhe, admin, inbound answer")

    # Media: S3 through the role of instances.
    content = b"\x89PNG\r\n\x1a\n" + bytes(100)
    upload = api.want(201, "POST", "/api/media/uploads", {"filename": "a.png", "mimeType": "image/png", "size": len(content)})
    place = "/" + upload["uploadUrl"].split("/", 3)[3]
    api.want(200, "PUT", place, content, headers={"content-type": "application/octet-stream"})
    api.want(404, "GET", f"/api/media/{shop}/{'0' * 32}")
    say("media")

    # IM: chat accepts, run-jobs fans out, deliver-webhooks tells the receiver.
    api.want(201, "POST", "/api/instances", {"platform": "im", "name": "me", "webhookUrl": receiver.url})
    bob = Api(aws, f"https://{api.host}")
    registered = {"username": "bob", "password": "password123"}
    bob.want(200, "POST", "/api/register", registered)
    token = bob.want(200, "POST", "/api/login", registered)["data"]["token"]
    bob.credential = {"authorization": f"Bearer {token}"}
    user = bob.want(200, "GET", "/api/auth/me")["id"]
    # With a socket of the receiver's open, which realtime signs on and run-jobs pushes to.
    seen = Socket(aws, outputs["WebSocketUrl"], login["token"])
    seen.say({"type": "ping"})
    seen.hear("pong")
    sent = {"id": "7f0c8a52-9d6e-4a8e-9a3e-0d1f6f1b2c3d", "toId": me, "chatType": "single", "content": "Hello!", "fromId": user}
    bob.want(200, "POST", "/api/message/send", sent)
    event = receiver.events.get(timeout=PATIENCE)
    while event["event"] != "message_received":
        event = receiver.events.get(timeout=PATIENCE)
    assert seen.hear("message")["data"]["content"] == "Hello!"
    say("realtime: a message came through the WebSocket")
    synced = api.want(200, "GET", f"/api/v1/im/message/sync?channelId={user}&channelType=1")
    assert len(synced["data"]) == 1 or synced["data"]["messages"], synced
    say("chat, im, run-jobs, deliver-webhooks: a message became a webhook")

    # The schedule's function, as the schedule calls it.
    swept = aws.client("lambda").invoke(FunctionName=f"{STACK}-sweep", Payload=b"{}")
    assert "FunctionError" not in swept, swept["Payload"].read()
    say("sweep")
    return shop


def work(aws, api, bins, outputs, shop):
    """The worker, as its role: a sandbox account is paired, and a message goes out."""
    iam = aws.client("iam")
    (role,) = [one for one in iam.list_roles()["Roles"] if "-WorkerRole-" in one["RoleName"]]
    # Only ECS may be it; for the test, this machine is ECS.
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}]}
    iam.update_assume_role_policy(RoleName=role["RoleName"], PolicyDocument=json.dumps(trust))
    got = aws.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="worker")["Credentials"]
    environment = {
        "STORE": "dynamodb",
        "TABLE_NAME": outputs["TableName"],
        "QUEUE_PREFIX": f"{STACK}-",
        "MEDIA_URL": f"s3://{outputs['MediaBucket']}",
        "WORKER_SHARDS": "8",
        "SECRETS_ID": outputs["SecretsArn"],
        "LOG_FORMAT": "json",
        "LISTEN_ADDR": f"127.0.0.1:{emulator.free_port()}",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
        "AWS_SESSION_TOKEN": got["SessionToken"],
    }
    log = pathlib.Path(aws.folder) / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen([bins / "worker"], env=environment, stdout=out, stderr=out, preexec_fn=emulator.dies_with_us)
    try:
        until("a worker that is well", lambda: subprocess.run([bins / "worker", "health"], env=environment, capture_output=True).returncode == 0)
        until("a QR code", lambda: api.call("GET", f"/api/instances/{shop}/qr")[0] == 200)
        api.want(200, "POST", f"/api/instances/{shop}/sandbox/scan", {"phone": "79000000001"})
        until("the connection", lambda: api.call("GET", f"/api/instances/{shop}")[1]["connectionStatus"]["ready"])
        api.want(200, "POST", f"/api/whatsapp/{shop}/send", {"phone": "79001234567", "message": "Hello!"})
        until("the message", lambda: api.call("GET", f"/api/instances/{shop}/sandbox/outbox")[1]["messages"])
        say("worker: paired, sent")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, "the worker did not end well"
    except BaseException:
        print(log.read_text("utf-8", "replace")[-4000:], file=sys.stderr)
        raise
    finally:
        process.kill()
        process.wait()


def logged(aws):
    """(log group, line) of everything that functions logged."""
    logs = aws.client("logs")
    for group in logs.describe_log_groups(logGroupNamePrefix=f"/trunkline/{STACK}/")["logGroups"]:
        for event in logs.filter_log_events(logGroupName=group["logGroupName"], limit=10_000)["events"]:
            yield group["logGroupName"], event["message"].rstrip()


def told(aws):
    """What whoever looks why it failed wants to see."""
    print(aws.log.read_text("utf-8", "replace")[-3000:], file=sys.stderr)
    for group, line in logged(aws):
        if line.startswith("{") and '"level":"INFO"' not in line:
            print(group, line, file=sys.stderr)


def main():
    signal.alarm(ALTOGETHER)
    bins = pathlib.Path(json.load(sys.stdin)["bins"])
    receiver = Receiver()
    with emulator.running() as aws:
        say("the emulator runs, policies enforced")
        try:
            outputs = deploy(aws, bins)
            say("deployed")
            secrets = aws.client("secretsmanager")
            generated = json.loads(secrets.get_secret_value(SecretId=outputs["SecretsArn"])["SecretString"])
            assert set(generated) == {"ENCRYPTION_KEY"} and len(generated["ENCRYPTION_KEY"]) == 48, "the key is generated"
            secrets.put_secret_value(SecretId=outputs["SecretsArn"], SecretString=json.dumps({**generated, "ADMIN_PASSWORD": PASSWORD}))
            api = Api(aws, outputs["HttpUrl"])
            shop = use(aws, api, receiver, outputs)
            work(aws, api, bins, outputs, shop)
            refused = [(group, line) for group, line in logged(aws) if "AccessDenied" in line]
            assert not refused, refused
        except BaseException:
            told(aws)
            raise


if __name__ == "__main__":
    main()
