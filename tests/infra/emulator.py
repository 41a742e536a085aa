"""An AWS of one's own on a free port of the loopback interface: ministack, with policies enforced. It ends with this process."""

import contextlib
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3
from botocore.config import Config
from stack import ACCOUNT, REGION

SECRET = "emulator"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def dies_with_us():
    """In the child, before it runs: killed when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Emulator:
    def __init__(self, port, folder):
        self.port, self.folder = port, folder
        self.endpoint = f"http://127.0.0.1:{port}"
        self.log = pathlib.Path(folder) / "ministack.log"

    def client(self, service, credentials=None):
        key, secret, token = credentials or (ACCOUNT, SECRET, None)
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            # Names of buckets are no names of hosts here, and nothing is tried for minutes.
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}, read_timeout=60),
        )

    def answers(self):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=2).status == 200
        return False


@contextlib.contextmanager
def running():
    with tempfile.TemporaryDirectory(prefix="trunkline-infra-") as folder:
        one = Emulator(free_port(), folder)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            # Functions are unpacked there.
            "TMPDIR": folder,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(one.port),
            "MINISTACK_REGION": REGION,
            # Without it, parts of the emulator, and the functions, would call the real AWS.
            "AWS_ENDPOINT_URL": one.endpoint,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            # Requests are refused whose signer has no policy for them: a function is its role.
            "AUTH": "true",
            # Ports of its own, which another emulator on the machine may have.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            # Nothing here may want a container.
            "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
        }
        program = pathlib.Path(sys.executable).parent / "ministack"
        with one.log.open("wb") as log:
            process = subprocess.Popen(
                [program], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=dies_with_us
            )
        try:
            end = time.monotonic() + 30
            while not one.answers():
                if time.monotonic() > end or process.poll() is not None:
                    raise SystemExit(f"ministack does not start:\n{one.log.read_text('utf-8', 'replace')[-4000:]}")
                time.sleep(0.1)
            yield one
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
