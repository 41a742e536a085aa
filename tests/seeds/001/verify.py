# One webhook a line on standard input: {"secret", "headers", "body"}. Prints how many both checks accepted.
import hashlib, hmac, json, sys
from base64 import b64encode

from standardwebhooks.webhooks import Webhook

accepted = 0
for line in sys.stdin:
    webhook = json.loads(line)
    secret, headers, body = webhook["secret"], webhook["headers"], webhook["body"]

    # The seed's header, in five lines:
    key, given = secret.encode(), headers["x-webhook-signature"]
    computed = hmac.new(key, body.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(computed, given):
        print("X-Webhook-Signature is", given, "and should be", computed, file=sys.stderr)
        sys.exit(1)

    # Standard Webhooks, by their library: raises on a signature or a time that it does not like.
    Webhook("whsec_" + b64encode(key).decode()).verify(body, headers)
    accepted += 1
print(accepted)
