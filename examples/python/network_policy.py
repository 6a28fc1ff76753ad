# SPDX-License-Identifier: Apache-2.0
"""A box that reaches what it is allowed to reach, and nothing else; the rules may change while it runs."""
import asyncio

import boxlite

CONNECT = """
import socket
try:
    socket.create_connection(("192.0.2.1", 80), 5)
    print("connected")
except OSError:
    print("refused")
"""


async def main() -> None:
    runtime = boxlite.Boxlite.default()
    network = boxlite.NetworkSpec(mode="enabled", allow_net=["pypi.org", "*.pythonhosted.org:443"])
    box = await runtime.create(boxlite.BoxOptions(image="python:slim", memory_mib=512, network=network))
    try:
        print((await (await box.exec("python", ["-c", CONNECT])).wait()).stdout, end="")
        await box.update_network(["pypi.org"])
        print((await box.metrics()).network_tcp_errors)
    finally:
        await box.stop()
        await runtime.remove(box.id)


asyncio.run(main())

# Prints:
# refused
# 1
