# SPDX-License-Identifier: Apache-2.0
"""A box for each agent: neither sees the other's files, processes or memory."""
import asyncio

import boxlite


async def agent(number: int, image: str, command: str) -> str:
    async with boxlite.SimpleBox(image=image, memory_mib=512) as box:
        await box.exec("sh", "-c", f"echo secret of {number} > /tmp/secret")
        return (await box.exec("sh", "-c", command)).stdout.strip()


async def main() -> None:
    answers = await asyncio.gather(agent(1, "python:slim", "python -c 'print(open(\"/tmp/secret\").read())'"),
                                   agent(2, "alpine:latest", "cat /tmp/secret"))
    print(*answers, sep="\n")


asyncio.run(main())

# Prints:
# secret of 1
# secret of 2
