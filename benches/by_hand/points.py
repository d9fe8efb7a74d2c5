"""JSON lines from stdin, line protocol to stdout."""

import json
import sys
from datetime import datetime, timedelta

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)

for line in sys.stdin:
    m = json.loads(line)
    time = (datetime.fromisoformat(m["time"]) - EPOCH) // MICROSECOND
    sys.stdout.write(
        f'algorithmia,algorithm_name={m["algorithm_name"]},algorithm_owner={m["algorithm_owner"]}'
        f',algorithm_version={m["algorithm_version"]}'
        f' risk_score={m["risk_score"]},duration_milliseconds={m["duration_milliseconds"]}'
        f',session_id="{m["session_id"]}",request_id="{m["request_id"]}" {time}000\n'
    )
