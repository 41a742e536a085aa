"""Table, queues and bucket of the template in an emulator that runs, for work on one's own machine:

    eval "$(.venv/bin/python tests/infra/local.py http://127.0.0.1:4566)"

prints the environment that functions and workers find them with. What is there already stays.
"""

import re
import sys

import boto3
from botocore.config import Config
from stack import ACCOUNT, REGION, STACK, Resolver, expanded, of_type

NAME = "trunkline"
BUCKET = "trunkline-media"


def make(endpoint, secret="emulator"):
    """Makes them, and returns the environment."""
    keys = {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": secret, "region_name": REGION, "endpoint_url": endpoint}
    client = lambda service: boto3.client(service, **keys, config=Config(s3={"addressing_style": "path"}))
    template = expanded()
    resolver = Resolver(template)

    dynamodb, sqs, s3 = client("dynamodb"), client("sqs"), client("s3")
    (table,) = of_type(template, "AWS::DynamoDB::Table").values()
    wanted = {name: table["Properties"][name] for name in ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")}
    if NAME not in dynamodb.list_tables()["TableNames"]:
        dynamodb.create_table(TableName=NAME, **wanted)
        dynamodb.update_time_to_live(TableName=NAME, TimeToLiveSpecification=table["Properties"]["TimeToLiveSpecification"])
    # Their dead letters first, which the others name.
    for queue in sorted(of_type(template, "AWS::SQS::Queue").values(), key=lambda one: "RedrivePolicy" in one["Properties"]):
        name, attributes = attributes_of(resolver.resolve(queue["Properties"]))
        sqs.create_queue(QueueName=name, Attributes=attributes)
    if BUCKET not in [one["Name"] for one in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return {
        "STORE": "dynamodb",
        "TABLE_NAME": NAME,
        "QUEUE_PREFIX": f"{NAME}-",
        "MEDIA_URL": f"s3://{BUCKET}",
        "WORKER_SHARDS": "8",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": secret,
    }


def attributes_of(properties):
    """Name and attributes as SQS's own API has them: texts."""
    here = lambda text: text.replace(STACK, NAME)
    attributes = {}
    for name, value in properties.items():
        if name == "RedrivePolicy":
            value = '{"deadLetterTargetArn": "%s", "maxReceiveCount": %d}' % (here(value["deadLetterTargetArn"]), value["maxReceiveCount"])
        attributes[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return here(attributes.pop("QueueName")), attributes


if __name__ == "__main__":
    # Another host might be the real one.
    if len(sys.argv) != 2 or not re.match(r"http://(127\.0\.0\.1|localhost)(:\d+)?/?$", sys.argv[1]):
        raise SystemExit(__doc__)
    for name, value in make(sys.argv[1].rstrip("/")).items():
        print(f"export {name}='{value}'")
