"""Makes CloudEvents in Kafka's structured mode: of each line of stdin, [ATTRIBUTES, DATA] in JSON, the value of a Kafka message."""

import json
import sys
from datetime import datetime

from cloudevents.core.bindings.kafka import to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

for line in sys.stdin:
    attributes, data = json.loads(line)
    if "time" in attributes:
        attributes["time"] = datetime.fromisoformat(attributes["time"])
    print(to_structured(CloudEvent(attributes, data), JSONFormat()).value.decode())
