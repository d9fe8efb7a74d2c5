#!/usr/bin/env python3
"""What somebody would write for Telegraf's processors.execd in Python, with its standard library only."""

import json
import os
import sys
from datetime import datetime, timezone

TAGS = ("algorithm_name", "algorithm_owner", "algorithm_version")
TO_NAME = str.maketrans({" ": r"\ ", ",": r"\,", "=": r"\="})
TO_STRING = str.maketrans({'"': r"\"", "\\": r"\\"})
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def message(line):
    """The message in a metric of kafka_consumer, which has no other fields, and the metric's own time."""
    start = line.index(' value="') + len(' value="')
    end = line.rindex('" ')
    return line[start:end].replace('\\"', '"').replace("\\\\", "\\"), line[end + 2 :].strip()


def nanoseconds(text):
    since = datetime.fromisoformat(text).replace(tzinfo=timezone.utc) - EPOCH
    return ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def convert(line):
    text, time = message(line)
    payload = json.loads(text)
    tags = "".join(f",{key}={str(payload.pop(key)).translate(TO_NAME)}" for key in TAGS)
    if "time" in payload:
        time = nanoseconds(payload.pop("time"))
    fields = []
    for key, value in payload.items():
        key = key.translate(TO_NAME)
        if isinstance(value, str):
            fields.append(f'{key}="{value.translate(TO_STRING)}"')
        elif isinstance(value, (bool, int, float)):
            fields.append(f"{key}={float(value)!r}")
    return f"algorithmia{tags} {','.join(fields)} {time}\n"


def write(text):
    """At once, since Telegraf waits for it and nobody knows whether another line comes soon. Not with sys.stdout, which
    loses some of a long text where the process is stopped and goes on (SIGSTOP, SIGCONT), as in this benchmark."""
    data = text.encode()
    while data:
        data = data[os.write(1, data) :]


for line in sys.stdin:
    if line.startswith("kafka_consumer"):
        try:
            line = convert(line)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            print(f"E! {error!r}", file=sys.stderr, flush=True)
            continue
    write(line)
