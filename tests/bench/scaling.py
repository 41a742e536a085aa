#!/usr/bin/env python3
"""What a deployment on AWS costs a month, and how near its hottest partition comes to DynamoDB's limit, for 1, 100 and 10,000
instances. A simulation with a fixed seed, on Python's standard library: `python3 tests/bench/scaling.py`.

Three kinds of figures go in, and each says which it is:
  COUNTED   the write units per message: design figures, which tests/bench/aws holds the program to
  PRICES    list prices in USD without free tiers: units and requests of us-east-1 as articles of 2025 and 2026 give them, the rest entered from
            memory; SOURCES says where to look them up before they are relied on
  ASSUMED   everything about users: how much they send, when, and what a request takes
"""

import argparse
import math
import random
from dataclasses import dataclass

DAYS, SECONDS = 30, 30 * 86_400

# ---------------------------------------------------------------- COUNTED
SENT, RECEIVED, WEBHOOK = 8, 3, 1
# Folding of statistics, per 64 log entries.
FOLD = 2.5 / 64
# Of these, on the busiest key there is, the instance's log: accepted and done; received. (protocol: about 250 messages/s fill it.)
LOG_SENT, LOG_RECEIVED = 4, 1
# DynamoDB's limit per partition and second.
PARTITION = 1000
# One heartbeat a worker, each 5 s; the sweep reads 8 half-units, each 15 minutes.
HEARTBEATS = SECONDS / 5
SWEEPS = SECONDS / 900
# Long polls of 20 s that find nothing: five pollers for each of three event sources, and one for each shard.
TRIGGERS, POLLERS, SHARDS = 3, 5, 8
IDLE_POLLS = (TRIGGERS * POLLERS + SHARDS) * SECONDS / 20

# ---------------------------------------------------------------- PRICES
SOURCES = {
    "write, read, storage": "aws.amazon.com/dynamodb/pricing/on-demand",
    "fifo, standard": "aws.amazon.com/sqs/pricing",
    "invoke, gb_second": "aws.amazon.com/lambda/pricing (x86)",
    "http": "aws.amazon.com/api-gateway/pricing (HTTP APIs)",
    "vcpu, gb": "aws.amazon.com/fargate/pricing (Linux, x86, an hour)",
    "address": "aws.amazon.com/vpc/pricing (public IPv4, an hour)",
    "log": "aws.amazon.com/cloudwatch/pricing (ingestion, a GB)",
    "alarm, metric, dashboard": "aws.amazon.com/cloudwatch/pricing (a month)",
    "secret": "aws.amazon.com/secrets-manager/pricing (a month)",
    "out": "aws.amazon.com/ec2/pricing/on-demand (data transfer out, a GB)",
}


@dataclass
class Prices:
    """Millions for requests and units, GB and month for storage."""

    write: float
    read: float
    storage: float
    http: float
    log: float
    fifo: float = 0.50
    standard: float = 0.40
    invoke: float = 0.20
    gb_second: float = 0.0000166667
    vcpu: float = 0.04048
    gb: float = 0.004445
    address: float = 0.005
    alarm: float = 0.10
    metric: float = 0.30
    dashboard: float = 3.00
    secret: float = 0.40
    out: float = 0.09


REGIONS = {
    "us-east-1": Prices(write=0.625, read=0.125, storage=0.25 + 0.20, http=1.00, log=0.50),
    "eu-west-1": Prices(write=0.705, read=0.1415, storage=0.283 + 0.226, http=1.11, log=0.57),
}

# ---------------------------------------------------------------- ASSUMED
# Messages a day and instance: most are small, few are large (log-normal), nobody is beyond what a platform lets through.
MEDIAN, SPREAD, MOST = 150, 1.4, 50_000
SHARE_SENT = 0.4
# Webhooks per message: that it was sent, and delivered; that one was received.
WEBHOOKS_SENT, WEBHOOKS_RECEIVED = 2, 1
# Half-units of reading.
READS_SENT, READS_RECEIVED, READS_WEBHOOK = 14, 8, 6
# Requests that are no sends (polls of state, history), per send.
OTHER_REQUESTS, READS_OTHER = 0.5, 10
# Queue requests per message that passes one: sent, received, deleted; batches make it less.
REQUESTS_PER_MESSAGE = 2.4
# Lambda: GB-seconds of a request and of a webhook, whose receiver answers in 150 ms.
GB_REQUEST, GB_WEBHOOK = 0.5 * 0.030, 0.5 * 0.170
LOG_BYTES, OUT_BYTES = 700, 1_500
# What a message with its entries, records and index leaves behind, and for how long on average: entries 30 days, messages a year.
KEPT_BYTES, KEPT_DAYS = 2_500, 200
# A worker: memory of an idle one, of an instance (a WhatsApp Web session; others are smaller), messages a second and processor.
MIB_BASE, MIB_INSTANCE, MESSAGES_PER_VCPU = 150, 6, 400
WORKERS_MIN, WORKERS_MAX, PER_WORKER = 2, 8, 400
# A busy evening: the busiest hour has that much of the day. A campaign: that part of the day's sends as fast as it is accepted.
CAMPAIGN_SHARE, CAMPAIGN_RATE = 0.3, 50
# Fargate's sizes: processors → memory from, to (GB).
FARGATE = [(0.25, 0.5, 2), (0.5, 1, 4), (1, 2, 8), (2, 4, 16), (4, 8, 30)]

HOURS = [1 + 0.9 * math.sin((hour - 8) / 24 * 2 * math.pi) for hour in range(24)]
BUSIEST = max(HOURS) / sum(HOURS)


def instances(count, seed):
    """Messages a day of each."""
    chance = random.Random(seed)
    return [min(MOST, chance.lognormvariate(math.log(MEDIAN), SPREAD)) for _ in range(count)]


def poisson_peak(rate, seconds, chance):
    """The busiest second of an hour with that many messages a second, drawn."""
    if rate > 30:
        return max(rate + math.sqrt(rate) * chance.gauss(0, 1) for _ in range(seconds))
    most = 0
    for _ in range(seconds):
        count, limit, product = 0, math.exp(-rate), chance.random()
        while product > limit:
            count, product = count + 1, product * chance.random()
        most = max(most, count)
    return most


def fleet(rates):
    """(workers, processors, memory in GB of each)."""
    workers = min(WORKERS_MAX, max(WORKERS_MIN, math.ceil(len(rates) / PER_WORKER)))
    # Those of one that failed fit into the others.
    share = len(rates) / max(1, workers - 1)
    memory = (MIB_BASE + MIB_INSTANCE * share) / 1024
    processors = sum(rates) * BUSIEST / 3600 / MESSAGES_PER_VCPU / max(1, workers - 1)
    for size, least, most in FARGATE:
        if size >= processors and memory <= most:
            return workers, size, max(least, math.ceil(memory * 2) / 2 if memory < 1 else math.ceil(memory))
    raise SystemExit("no size of Fargate is enough: more shards are needed")


def month(rates, price):
    """What a month costs, by service."""
    day = sum(rates)
    sent, received = day * SHARE_SENT * DAYS, day * (1 - SHARE_SENT) * DAYS
    webhooks = sent * WEBHOOKS_SENT + received * WEBHOOKS_RECEIVED
    requests = sent * (1 + OTHER_REQUESTS)
    workers, processors, memory = fleet(rates)

    writes = sent * SENT + received * RECEIVED + webhooks * WEBHOOK + (sent * 2 + received) * FOLD + workers * HEARTBEATS
    halves = sent * READS_SENT + received * READS_RECEIVED + webhooks * READS_WEBHOOK + sent * OTHER_REQUESTS * READS_OTHER
    reads = halves / 2 + SWEEPS * 4
    queued = (sent + webhooks) * REQUESTS_PER_MESSAGE + IDLE_POLLS
    return {
        "DynamoDB": (writes * price.write + reads * price.read) / 1e6 + day * KEPT_DAYS * KEPT_BYTES / 1e9 * price.storage,
        "SQS": queued * price.fifo / 1e6,
        "Lambda": (requests + webhooks) * price.invoke / 1e6 + (requests * GB_REQUEST + webhooks * GB_WEBHOOK) * price.gb_second,
        "HTTP API": requests * price.http / 1e6,
        "Fargate": workers * SECONDS / 3600 * (processors * price.vcpu + memory * price.gb + price.address),
        "CloudWatch": (requests + webhooks) * LOG_BYTES / 1e9 * price.log + 55 * price.alarm + 15 * price.metric + price.dashboard,
        "other": price.secret + (requests + webhooks) * OUT_BYTES / 1e9 * price.out,
    }


def hottest(rates, seed):
    """Write units a second of the busiest partition: the log of the busiest instance, in its busiest hour with a campaign."""
    chance = random.Random(seed)
    per_message = SHARE_SENT * LOG_SENT + (1 - SHARE_SENT) * LOG_RECEIVED
    usual = poisson_peak(max(rates) * BUSIEST / 3600, 3600, chance) * per_message
    lasts = max(rates) * SHARE_SENT * CAMPAIGN_SHARE / CAMPAIGN_RATE
    return usual, usual + CAMPAIGN_RATE * LOG_SENT, lasts


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("counts", nargs="*", type=int, default=[1, 100, 10_000])
    arguments.add_argument("--seed", type=int, default=7)
    chosen = arguments.parse_args()
    for region, price in REGIONS.items():
        print(f"\n{region}, USD a month")
        print("| instances | messages a day | " + " | ".join(month([1], price)) + " | all | per 1,000 messages |")
        print("|---:" * (4 + len(month([1], price))) + "|")
        for count in chosen.counts:
            rates = instances(count, chosen.seed)
            costs = month(rates, price)
            whole = sum(costs.values())
            each = whole / (sum(rates) * DAYS) * 1000
            print(f"| {count:,} | {sum(rates):,.0f} | " + " | ".join(f"{one:,.2f}" for one in costs.values()) + f" | {whole:,.2f} | {each:,.3f} |")
    print("\nThe hottest partition (write units a second, of 1,000), the table, the fleet")
    print("| instances | busiest instance, messages a day | its log in a busy second | with a campaign | whole table, busiest hour | workers |")
    print("|---:|---:|---:|---:|---:|---|")
    for count in chosen.counts:
        rates = instances(count, chosen.seed)
        usual, campaign, lasts = hottest(rates, chosen.seed)
        units = SHARE_SENT * (SENT + WEBHOOKS_SENT * WEBHOOK) + (1 - SHARE_SENT) * (RECEIVED + WEBHOOKS_RECEIVED * WEBHOOK)
        table = sum(rates) * BUSIEST / 3600 * units
        workers, processors, memory = fleet(rates)
        print(
            f"| {count:,} | {max(rates):,.0f} | {usual:,.0f} | {campaign:,.0f} for {lasts:,.0f} s | {table:,.0f} | "
            f"{workers} × {processors} vCPU, {memory} GB |"
        )
        assert campaign < PARTITION, "one instance's log is too hot"


if __name__ == "__main__":
    main()
