# SPDX-License-Identifier: Apache-2.0
"""Code of an agent, once: a box that is there for it and gone after it."""
import asyncio

import boxlite


async def main() -> None:
    async with boxlite.SimpleBox(image="python:slim", memory_mib=512) as box:
        result = await box.exec("python", "-c", "print(sum(range(10)))")
        print(result.stdout, end="")
        result = await box.exec("python", "-c", "1 / 0")
        print(result.exit_code, result.stderr.splitlines()[-1])


asyncio.run(main())

# Prints:
# 45
# 1 ZeroDivisionError: division by zero
