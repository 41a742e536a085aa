"""Least privilege: what each role may do, held against a table of what its code does. Complaints on standard output.

The table is kept by hand: whoever has a function do something new adds it here and in the template, or the function is refused
it (`deploy.py` runs the template with policies enforced). Reasons are beside what is not obvious.
"""

import fnmatch

from stack import Resolver, expanded, of_type

READ = {"GetItem", "BatchGetItem", "Query"}
WRITE = {"PutItem", "UpdateItem"}
# Idempotency keys of refused requests, claims that were given up, rows whose work is done.
DELETE = {"DeleteItem"}
# `write_many`: calls that were counted (whatsapp), contacts, WeCom lists, groups that end (run-jobs), instances that end (worker).
BATCH = {"BatchWriteItem"}
# `Write::check`: only a connector's session, under its owner's epoch.
CHECK = {"ConditionCheckItem"}

TABLE = {
    "auth": READ | WRITE | DELETE,
    "instances": READ | WRITE | DELETE,
    "whatsapp": READ | WRITE | DELETE | BATCH,
    "stats": READ | WRITE,
    "third-party": READ | WRITE | DELETE,
    "im": READ | WRITE | DELETE,
    "juhe": READ | WRITE | DELETE,
    "chat": READ | WRITE | DELETE,
    "admin": READ | WRITE | DELETE,
    "inbound": READ | WRITE | DELETE,
    "realtime": READ | WRITE | DELETE,
    "deliver-webhooks": READ | WRITE | DELETE,
    "run-jobs": READ | WRITE | DELETE | BATCH,
    "sweep": READ | WRITE | DELETE,
    "worker": READ | WRITE | DELETE | BATCH | CHECK,
}

# Who lists users, instances of somebody, instances of a shard, histories, deliveries by status.
INDEX = set(TABLE) - {"deliver-webhooks", "sweep"}

# Who sends to which queues. `jobs`: background work, the fan-out of IM, mailboxes of sockets, and so whoever changes what a
# socket shows. `commands`: whoever has an owner do something; deliver-webhooks when a scheduled send is due.
SEND = {
    "auth": {"jobs"},
    "instances": {"commands", "dispatch", "jobs", "timers"},
    "whatsapp": {"commands", "dispatch", "jobs", "timers"},
    "stats": set(),
    "third-party": {"commands", "dispatch", "jobs", "timers"},
    "im": {"jobs"},
    "juhe": {"commands", "jobs"},
    "chat": {"jobs"},
    "admin": {"jobs"},
    "inbound": {"commands", "dispatch", "jobs"},
    "realtime": {"commands", "jobs", "timers"},
    "deliver-webhooks": {"commands", "dispatch", "jobs", "timers"},
    "run-jobs": {"commands", "dispatch", "jobs", "timers"},
    "sweep": {"timers"},
    "worker": {"commands", "dispatch", "jobs", "timers"},
}

CONSUME = {
    "deliver-webhooks": {"dispatch", "timers"},
    "run-jobs": {"jobs"},
    "worker": {"commands", "commands-dead"},
}

MEDIA = {"instances", "whatsapp", "third-party", "worker"}
SOCKETS = {"realtime", "run-jobs"}

LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
ARN = "arn:aws:{}:eu-west-1:000000000000:"
QUEUE = ARN.format("sqs") + "trunkline-test-"

# What AWS has no resource for.
UNNAMED = {("worker-starter", "ecr:GetAuthorizationToken")}


def queues(names):
    for name in names:
        # One digit: the shards. Anything that stood for more would take in the dead letters.
        yield QUEUE + {"commands": "commands-?.fifo", "commands-dead": "commands-?-dead.fifo", "timers": "timers"}.get(name, f"{name}.fifo")


def expected(name):
    """{(action, resource)} of a function or of the worker."""
    table = ARN.format("dynamodb") + "table/trunkline-test"
    pairs = {(f"dynamodb:{action}", table) for action in TABLE[name]}
    if name in INDEX:
        pairs.add(("dynamodb:Query", f"{table}/index/hist"))
    pairs.add(("secretsmanager:GetSecretValue", ARN.format("secretsmanager") + "secret:trunkline-test/settings"))
    # Every start, and /ready, looks whether the queues answer.
    pairs |= {(f"sqs:{action}", QUEUE + "dispatch.fifo") for action in ("GetQueueUrl", "GetQueueAttributes")}
    pairs |= {(f"sqs:{action}", arn) for arn in queues(SEND[name]) for action in ("GetQueueUrl", "SendMessage")}
    consuming = ("GetQueueUrl", "GetQueueAttributes", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")
    pairs |= {(f"sqs:{action}", arn) for arn in queues(CONSUME.get(name, ())) for action in consuming}
    if name in MEDIA:
        pairs |= {(f"s3:{action}", "arn:aws:s3:::<Media>/*") for action in ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload")}
        # Without it S3 answers "forbidden" for what is not there.
        pairs.add(("s3:ListBucket", "arn:aws:s3:::<Media>"))
    if name in SOCKETS:
        pairs.add(("execute-api:ManageConnections", ARN.format("execute-api") + "<SocketApi>/ws/*/@connections/*"))
    if name != "worker":
        pairs |= {(action, ARN.format("logs") + f"log-group:/trunkline/trunkline-test/{name}:*") for action in LOGS}
    return pairs


def listed(value):
    return value if isinstance(value, list) else [value]


def granted(resolver, role):
    pairs = set()
    for policy in role["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow" and set(statement) == {"Sid", "Effect", "Action", "Resource"}, statement
            resources = listed(resolver.resolve(statement["Resource"]))
            pairs |= {(action, resource) for action in statement["Action"] for resource in resources}
    return pairs


def main():
    template = expanded()
    resolver = Resolver(template)
    roles = {}
    for logical, role in of_type(template, "AWS::IAM::Role").items():
        if role["Properties"].get("ManagedPolicyArns"):
            print(f"{logical} has policies of AWS's making")
        (policy,) = role["Properties"]["Policies"]
        roles[policy["PolicyName"]] = (logical, granted(resolver, role))

    for name, (logical, pairs) in roles.items():
        for action, resource in pairs:
            if "*" in action:
                print(f"{name}: {action}")
            if resource == "*" and (name, action) not in UNNAMED:
                print(f"{name}: {action} on everything")
        if name == "worker-starter":
            continue
        for action, resource in sorted(pairs - expected(name)):
            print(f"{name} may {action} on {resource}, which its code does not do")
        for action, resource in sorted(expected(name) - pairs):
            print(f"{name} may not {action} on {resource}")

    functions = of_type(template, "AWS::Lambda::Function")
    for logical, function in functions.items():
        name = resolver.ref(logical).removeprefix("trunkline-test-")
        if function["Properties"]["Role"] != {"Fn::GetAtt": [roles.get(name, ("nothing",))[0], "Arn"]}:
            print(f"{logical} has not its own role")
    strange = set(roles) - {"worker", "worker-starter"} - {resolver.ref(one).removeprefix("trunkline-test-") for one in functions}
    if strange:
        print(f"roles of nobody: {strange}")

    # The patterns mean what they are meant to.
    names = [one["Properties"]["QueueName"] for one in of_type(template, "AWS::SQS::Queue").values()]
    arns = [ARN.format("sqs") + resolver.resolve(one) for one in names]
    shards = int(of_type(template, "AWS::Lambda::Function")["AuthFunction"]["Properties"]["Environment"]["Variables"]["WORKER_SHARDS"])
    for pattern in queues(["commands", "commands-dead"]):
        if len(fnmatch.filter(arns, pattern)) != shards:
            print(f"{pattern} does not stand for {shards} queues")


if __name__ == "__main__":
    main()
