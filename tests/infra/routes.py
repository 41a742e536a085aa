"""Every route of the code is sent by the template to the function whose router has it. Standard input: {"METHOD /path":
"crate"}, as the suite reads it from the source. Complaints on standard output, one a line."""

import json
import re
import sys

from stack import ROOT, expanded, of_type

# Common routes, which every function answers and `$default` brings to this one.
COMMON = ("edge", "instances")
# The WebSocket is an API of its own.
SOCKET = "GET /ws"


def matches(pattern, path):
    """How well a route's path matches, as API Gateway ranks it: None, or the number of literal segments in front of a greedy
    one; a path without one ranks above all."""
    theirs, ours = pattern.strip("/").split("/"), path.strip("/").split("/")
    for at, segment in enumerate(theirs):
        if segment.endswith("+}"):
            return at if len(ours) > at else None
        if at >= len(ours) or segment != ours[at]:
            return None
    return 1000 if len(theirs) == len(ours) else None


def targets(template, api):
    """Route key → name of the function that the template sends it to."""
    functions = of_type(template, "AWS::Lambda::Function")
    integrations = of_type(template, "AWS::ApiGatewayV2::Integration")
    found = {}
    for route in of_type(template, "AWS::ApiGatewayV2::Route").values():
        properties = route["Properties"]
        if properties["ApiId"] != {"Ref": api}:
            continue
        integration = properties["Target"]["Fn::Sub"].removeprefix("integrations/${").removesuffix("}")
        uri = integrations[integration]["Properties"]["IntegrationUri"]
        if "Fn::GetAtt" in uri:
            function = uri["Fn::GetAtt"][0]
        else:
            function = uri["Fn::Sub"].partition("/functions/${")[2].partition(".Arn}")[0]
        assert properties["RouteKey"] not in found, f"{properties['RouteKey']} is there twice"
        found[properties["RouteKey"]] = functions[function]["Properties"]["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
    return found


def serves(routes, path):
    """The function that a request for this path, of any method, gets to."""
    ranked = []
    for key, function in routes.items():
        if key == "$default":
            ranked.append((-1, function))
            continue
        method, pattern = key.split(" ")
        assert method == "ANY", f"{key}: methods are the routers' business"
        rank = matches(pattern, path)
        if rank is not None:
            ranked.append((rank, function))
    return max(ranked)[1]


def main():
    wanted = json.load(sys.stdin)
    template = expanded()
    routes = targets(template, "HttpApi")
    used = set()
    for route, crate in wanted.items():
        method, path = route.split(" ")
        if route == SOCKET:
            assert crate == "realtime"
            continue
        # Only in the local home.
        if crate == "trunkline" or crate == "worker":
            continue
        expected = COMMON[1] if crate == COMMON[0] else crate
        found = serves(routes, path)
        if found != expected:
            print(f"{route} of {crate} goes to {found}")
        used.update(key for key in routes if key == "$default" or matches(key.split(" ")[1], path) is not None)
    for key in set(routes) - used:
        print(f"{key} leads to no route of the code")

    sockets = targets(template, "SocketApi")
    if sockets != {"$connect": "realtime", "$default": "realtime", "$disconnect": "realtime"}:
        print(f"the WebSocket API has {sockets}")

    # `cargo lambda watch` has the same routes.
    section = (ROOT / "Cargo.toml").read_text("utf-8").partition("[workspace.metadata.lambda.watch.router]")[2].partition("\n[")[0]
    watched = dict(re.findall(r'^"(.+)" = "(.+)"$', section, re.MULTILINE))
    deployed = {key.removeprefix("ANY ").replace("{proxy+}", "{*rest}"): to for key, to in routes.items() if to != "instances"}
    if watched != {**deployed, "/": "instances", "/{*rest}": "instances"}:
        print(f"Cargo.toml routes {watched}, the template {deployed}")

    # Whoever is called may be called.
    allowed = {one["Properties"]["FunctionName"]["Ref"] for one in of_type(template, "AWS::Lambda::Permission").values()}
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        short = function["Properties"]["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
        if short in {*routes.values(), *sockets.values()} and name not in allowed:
            print(f"API Gateway may not call {name}")

    if "GET /nowhere" in routes or serves(routes, "/nowhere") != "instances" or serves(routes, "/api/auth/login") != "auth":
        print("the matching is wrong")


if __name__ == "__main__":
    main()
