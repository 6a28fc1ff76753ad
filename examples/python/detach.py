# SPDX-License-Identifier: Apache-2.0
"""A box that outlives the program that made it, and is taken up by another one."""
import asyncio

import boxlite


async def first() -> None:
    with boxlite.Boxlite(boxlite.Options()) as runtime:
        box = await runtime.create(boxlite.BoxOptions(image="alpine:latest", memory_mib=512, detach=True), "worker")
        await (await box.exec("sh", ["-c", "echo made by the first > /root/note"])).wait()


async def second() -> None:
    with boxlite.Boxlite(boxlite.Options()) as runtime:
        box = await runtime.get("worker")
        assert box is not None
        print((await box.info()).state.status)
        print((await (await box.exec("cat", ["/root/note"])).wait()).stdout, end="")
        await runtime.remove("worker", force=True)


asyncio.run(first())
asyncio.run(second())

# Prints:
# running
# made by the first
