"""A listener of a user's inbox, with Debian's python3-websockets."""

import asyncio
import json
import sys

import websockets


class Listener:
    def __init__(self, url, user):
        self.url, self.user = url, user
        self.cursor, self.got = None, {}

    async def connect(self):
        hello = {"type": "hello", "user_id": self.user}
        if self.cursor:
            hello["after"] = self.cursor
        socket = await websockets.connect(self.url, subprotocols=["belfry.v1"])
        await socket.send(json.dumps(hello))
        frame = json.loads(await socket.recv())
        assert frame["type"] == "hello", frame
        print("connected, %d unread" % frame["unread"], flush=True)
        self.cursor = frame["cursor"]
        return socket

    async def until(self, socket, kind, title=None):
        """Reads until a frame of the type, and the item's title, has come."""
        while True:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 60))
            if frame["type"] == "item":
                self.cursor = frame["cursor"]
                if frame["item"]["id"] not in self.got:
                    self.got[frame["item"]["id"]] = frame["item"]
                    print("got " + frame["item"]["title"], flush=True)
                await socket.send(json.dumps({"type": "ack", "cursor": frame["cursor"]}))
            if frame["type"] == kind and title in (None, frame.get("item", {}).get("title")):
                return frame


async def main(url, user):
    listener = Listener(url, user)
    socket = await listener.connect()
    item = (await listener.until(socket, "item", "one"))["item"]
    await listener.until(socket, "item", "two")
    await socket.send(json.dumps({"type": "read", "item_id": item["id"]}))
    state = await listener.until(socket, "state")
    assert state["item_id"] == item["id"] and state["read_at"] and state["seen_at"], state
    print("read, %d unread" % state["unread"], flush=True)
    await socket.close()
    print("away", flush=True)

    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    socket = await listener.connect()
    await listener.until(socket, "item", "three")
    assert [i["title"] for i in listener.got.values()] == ["one", "two", "three"]

    # What is no frame closes the socket, and says why.
    await socket.send("no JSON")
    try:
        while True:
            await asyncio.wait_for(socket.recv(), 60)
    except websockets.exceptions.ConnectionClosed as closed:
        assert closed.code == 4400, closed
    print("done", flush=True)


asyncio.run(main(*sys.argv[1:]))
