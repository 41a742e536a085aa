"""The template as CloudFormation sees it: loops unrolled, SAM's resources made plain ones.

Linters look at what is written; a reference that only exists after both transforms is only seen dangling in the result.
"""

import copy
import json
import os
import pathlib

from ministack.services.cloudformation import language_extensions
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "infra/template.yaml"
REGION = "eu-west-1"
ACCOUNT = "000000000000"
STACK = "trunkline-test"

# What the pseudo parameters are in comparisons.
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}


class _NoManagedPolicies:
    """SAM asks for AWS's policies by name; the template uses none of them."""

    def load(self):
        return {}


def written():
    """The template as it is in the repository."""
    return yaml_parse(TEMPLATE.read_text("utf-8"))


def defaults(template):
    return {name: one["Default"] for name, one in template["Parameters"].items()}


def expanded(parameters=None):
    """The template after both transforms, as a plain CloudFormation template."""
    os.environ["AWS_DEFAULT_REGION"] = REGION
    template = written()
    template = language_extensions.apply(template, {**defaults(template), **(parameters or {})})
    template["Transform"] = "AWS::Serverless-2016-10-31"
    # Code is a folder until `sam build` and `sam package` have put it into a bucket.
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": "code", "Key": "code.zip"}
    result = transform(copy.deepcopy(template), {}, _NoManagedPolicies())
    result.pop("Transform", None)
    # Plain values only: the translator leaves classes of its own behind.
    return json.loads(json.dumps(result))


def of_type(template, kind):
    """Logical id → resource."""
    return {name: one for name, one in template["Resources"].items() if one["Type"] == kind}


class Resolver:
    """Turns intrinsic functions into what they are in a stack named STACK: as far as names and ARNs of the template go."""

    def __init__(self, template, parameters=None):
        self.template = template
        self.values = {**PSEUDO, **defaults(template), **(parameters or {})}

    def resolve(self, node):
        if isinstance(node, list):
            return [self.resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (function, argument), = node.items()
            if function == "Ref":
                return self.ref(argument)
            if function == "Fn::GetAtt":
                name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
                return self.attribute(name, attribute)
            if function == "Fn::Sub":
                return self.sub(argument)
            if function == "Fn::If":
                # Which branch is not known here; the first is what the defaults take.
                return self.resolve(argument[1])
            if function == "Fn::Join":
                return argument[0].join(self.resolve(argument[1]))
        return {key: self.resolve(value) for key, value in node.items()}

    def ref(self, name):
        if name in self.values:
            return self.values[name]
        resource = self.template["Resources"][name]
        properties = resource["Properties"]
        match resource["Type"]:
            case "AWS::DynamoDB::Table":
                return self.resolve(properties["TableName"])
            case "AWS::Lambda::Function":
                return self.resolve(properties["FunctionName"])
            case "AWS::Logs::LogGroup":
                return self.resolve(properties["LogGroupName"])
            case "AWS::SecretsManager::Secret":
                return self.arn(name)
            case _:
                return f"<{name}>"

    def sub(self, argument):
        assert isinstance(argument, str), f"Fn::Sub with values is not read here: {argument}"
        out, rest = "", argument
        while "${" in rest:
            before, _, rest = rest.partition("${")
            name, _, rest = rest.partition("}")
            dotted = name.split(".", 1)
            out += before + str(self.attribute(*dotted) if len(dotted) == 2 else self.ref(name))
        return out + rest

    def attribute(self, name, attribute):
        return self.arn(name) if attribute == "Arn" else f"<{name}.{attribute}>"

    def arn(self, name):
        resource = self.template["Resources"][name]
        properties = resource["Properties"]
        place = f"{REGION}:{ACCOUNT}"
        match resource["Type"]:
            case "AWS::SQS::Queue":
                return f"arn:aws:sqs:{place}:{self.resolve(properties['QueueName'])}"
            case "AWS::DynamoDB::Table":
                return f"arn:aws:dynamodb:{place}:table/{self.ref(name)}"
            case "AWS::Lambda::Function":
                return f"arn:aws:lambda:{place}:function:{self.ref(name)}"
            case "AWS::Logs::LogGroup":
                return f"arn:aws:logs:{place}:log-group:{self.ref(name)}:*"
            case "AWS::SecretsManager::Secret":
                return f"arn:aws:secretsmanager:{place}:secret:{self.resolve(properties['Name'])}"
            case "AWS::S3::Bucket":
                return f"arn:aws:s3:::<{name}>"
            case other:
                return f"<{name}: ARN of {other}>"
