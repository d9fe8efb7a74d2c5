"""Makes mlserver.jsonl: what MLServer writes to Kafka for two requests.

A model is served by MLServer with its Kafka integration on; the requests go to its input topic, and each value that comes to its
output topic is printed as it is, one a line. mlserver.jsonl was made with MLServer 1.7.1 on Python 3.11:

    python3 -m venv venv && venv/bin/pip install mlserver==1.7.1
    venv/bin/python3 mlserver.py localhost:9092 > mlserver.jsonl
"""

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

MODEL = """
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Approval(MLModel):
    async def predict(self, request: InferenceRequest) -> InferenceResponse:
        income = request.inputs[0].data[0]
        return InferenceResponse(
            id=request.id,
            model_name=self.name,
            model_version=self.version,
            outputs=[
                ResponseOutput(name="risk_score", shape=[1, 1], datatype="FP64", data=[1e4 / income]),
                ResponseOutput(name="label", shape=[1, 2], datatype="BYTES", data=["approved", "gold"]),
            ],
        )
"""

REQUESTS = [
    ("req-1", {"inputs": [{"name": "income", "shape": [1], "datatype": "FP64", "data": [50000.0]}]}),
    # Without an id: MLServer makes one.
    (None, {"inputs": [{"name": "income", "shape": [1], "datatype": "FP64", "data": [16000.0]}]}),
]


async def main(broker: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1) for topic in ("mlserver-input", "mlserver-output")])
    await admin.close()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "approval.py").write_text(MODEL)
        settings = {"name": "credit_card_approval", "implementation": "approval.Approval"}
        settings["parameters"] = {"version": "1.0.6"}
        (path / "model-settings.json").write_text(json.dumps(settings))
        variables = {"MLSERVER_KAFKA_ENABLED": "true", "MLSERVER_KAFKA_SERVERS": broker, "MLSERVER_PARALLEL_WORKERS": "0"}
        command = [pathlib.Path(sys.executable).with_name("mlserver"), "start", folder]
        server = subprocess.Popen(command, env={**os.environ, **variables}, stdout=sys.stderr, cwd=folder)
        try:
            await call(broker)
        finally:
            server.terminate()
            server.wait()


async def call(broker: str) -> None:
    consumer = AIOKafkaConsumer("mlserver-output", bootstrap_servers=broker, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await consumer.start()
    await producer.start()
    headers = [("mlserver-model", b"credit_card_approval")]
    for id, request in REQUESTS:
        message = None
        # MLServer reads what comes after it has subscribed, and does not say when.
        while message is None:
            body = json.dumps(request if id is None else {"id": id, **request}).encode()
            await producer.send_and_wait("mlserver-input", body, headers=headers)
            answered = await consumer.getmany(timeout_ms=3000)
            message = next((batch[0] for batch in answered.values() if batch), None)
        print(message.value.decode())
        print(message.headers, file=sys.stderr)
    await producer.stop()
    await consumer.stop()


asyncio.run(main(sys.argv[1]))
