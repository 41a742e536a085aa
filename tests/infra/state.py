"""The template's table and queues are those that `Aws::create` makes. Standard input: {"endpoint", "table", "prefix"} of what it
has made in the emulator. Complaints on standard output, one a line."""

import json
import sys

import boto3
from stack import REGION, Resolver, expanded, of_type

# Longer in the template: six times the time-out of the function that consumes it (`lint.py`).
CONSUMED_BY_FUNCTIONS = {"dispatch.fifo", "jobs.fifo", "timers"}
# Of a deployment only: encryption, which `create` leaves to the service's default.
ONLY_DEPLOYED = {"SqsManagedSseEnabled"}

ATTRIBUTES = (
    "FifoQueue",
    "DeduplicationScope",
    "FifoThroughputLimit",
    "VisibilityTimeout",
    "MessageRetentionPeriod",
    "RedrivePolicy",
)


def made_queues(client, prefix):
    found = {}
    for url in client.list_queues(QueueNamePrefix=prefix, MaxResults=1000)["QueueUrls"]:
        every = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        one = {name: str(every[name]).lower() for name in ATTRIBUTES if name in every}
        if "RedrivePolicy" in every:
            policy = json.loads(every["RedrivePolicy"])
            target = policy["deadLetterTargetArn"].rsplit(":", 1)[1].removeprefix(prefix)
            one["RedrivePolicy"] = (target, int(policy["maxReceiveCount"]))
        found[url.rsplit("/", 1)[1].removeprefix(prefix)] = normal(one)
    return found


def written_queues(template, resolver):
    prefix = resolver.resolve({"Ref": "AWS::StackName"}) + "-"
    found = {}
    for queue in of_type(template, "AWS::SQS::Queue").values():
        properties = dict(queue["Properties"])
        name = resolver.resolve(properties.pop("QueueName")).removeprefix(prefix)
        redrive = properties.pop("RedrivePolicy", None)
        one = {key: str(value).lower() for key, value in properties.items() if key not in ONLY_DEPLOYED}
        if redrive:
            target = resolver.resolve(redrive["deadLetterTargetArn"]).rsplit(":", 1)[1].removeprefix(prefix)
            one["RedrivePolicy"] = (target, int(redrive["maxReceiveCount"]))
        found[name] = normal(one)
    return found


def normal(queue):
    """Without what standard queues report about being none."""
    if queue.get("FifoQueue", "false") == "false":
        for name in ("FifoQueue", "DeduplicationScope", "FifoThroughputLimit"):
            queue.pop(name, None)
    return queue


def shape(table):
    """What of a table decides what fits into it."""
    index = lambda one: (one["IndexName"], json.dumps(one["KeySchema"]), json.dumps(one["Projection"]))
    return {
        "keys": table["KeySchema"],
        "attributes": sorted(map(json.dumps, table["AttributeDefinitions"])),
        "indexes": sorted(map(index, table["GlobalSecondaryIndexes"])),
    }


def main():
    made = json.load(sys.stdin)
    client = lambda service: boto3.client(
        service,
        endpoint_url=made["endpoint"],
        region_name=REGION,
        aws_access_key_id="000000000000",
        aws_secret_access_key="emulator",
    )
    template = expanded()
    resolver = Resolver(template)

    theirs, ours = made_queues(client("sqs"), made["prefix"]), written_queues(template, resolver)
    for name in sorted(set(theirs) | set(ours)):
        one, other = dict(theirs.get(name, {})), dict(ours.get(name, {}))
        if name in CONSUMED_BY_FUNCTIONS and one and other:
            if int(other.pop("VisibilityTimeout")) <= int(one.pop("VisibilityTimeout")):
                print(f"{name}: the template's visibility is not the longer one")
        if one != other:
            print(f"{name}: the code makes {one}, the template {other}")

    (table,) = of_type(template, "AWS::DynamoDB::Table").values()
    properties = table["Properties"]
    dynamodb = client("dynamodb")
    described = dynamodb.describe_table(TableName=made["table"])["Table"]
    if shape(described) != shape(properties):
        print(f"the table: the code makes {shape(described)}, the template {shape(properties)}")
    if described["BillingModeSummary"]["BillingMode"] != properties["BillingMode"]:
        print("the table is paid for in another way")
    ttl = dynamodb.describe_time_to_live(TableName=made["table"])["TimeToLiveDescription"]
    if ttl["AttributeName"] != properties["TimeToLiveSpecification"]["AttributeName"]:
        print(f"expiry: {ttl}")


if __name__ == "__main__":
    main()
