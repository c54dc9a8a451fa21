"""Publishes an event in each encoding that Belfry reads, each to somebody else.

usage: producer.py AMQP-URL MAIL-DOMAIN
"""

import json
import sys
import time
import uuid

import pika

url, domain = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()  # what is not confirmed raises


def request(name):
    """What a POST /v1/notifications would have as its body."""
    return {"template": "welcome", "to": [{"email": f"{name}@{domain}"}], "data": {"film": "Сталкер"}}


def publish(body, **properties):
    channel.basic_publish(
        exchange="belfry.events",
        routing_key="belfry.notification.send",
        body=json.dumps(body),
        properties=pika.BasicProperties(delivery_mode=2, **properties),
        mandatory=True,
    )


def attributes():
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "https://films.example/bookings",
        "type": "belfry.notification.send",
        "time": "2026-12-01T09:00:00Z",
    }


publish(attributes() | {"data": request("structured")}, content_type="application/cloudevents+json")
for prefix, name in ("cloudEvents_", "underscore"), ("cloudEvents:", "colon"):
    publish(
        request(name),
        content_type="application/json",
        headers={prefix + key: value for key, value in attributes().items()},
    )
publish(
    request("plain"),
    content_type="application/json",
    type="belfry.notification.send",
    message_id=str(uuid.uuid4()),
    app_id="bookings",
    timestamp=int(time.time()),
)
connection.close()
