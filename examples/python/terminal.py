# SPDX-License-Identifier: Apache-2.0
"""A shell on a terminal, of a size that the program chooses."""
import asyncio

import boxlite


async def main() -> None:
    runtime = boxlite.Boxlite.default()
    box = await runtime.create(boxlite.BoxOptions(image="alpine:latest", memory_mib=512))
    try:
        execution = await box.exec("sh", tty=True)
        await execution.resize_tty(40, 120)
        stdin = execution.stdin()
        await stdin.send_input(b"stty size; exit\n")
        seen = "".join([piece async for piece in execution.stdout()])
        print("40 120" in seen, (await execution.wait()).exit_code)
    finally:
        await box.stop()
        await runtime.remove(box.id)


asyncio.run(main())

# Prints:
# True 0
