# SPDX-License-Identifier: Apache-2.0
"""A command that wants more memory than the box has is killed, and the box goes on."""
import asyncio

import boxlite


async def main() -> None:
    runtime = boxlite.Boxlite.default()
    box = await runtime.create(boxlite.BoxOptions(image="python:slim", memory_mib=512))
    try:
        result = await (await box.exec("python", ["-c", "x = b'x' * 2**30"])).wait()
        print(result.exit_code, result.oom_killed)
        print((await (await box.exec("echo", ["alive"])).wait()).stdout, end="")
    finally:
        await box.stop()
        await runtime.remove(box.id)


asyncio.run(main())

# Prints:
# 137 True
# alive
