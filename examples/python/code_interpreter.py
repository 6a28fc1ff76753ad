# SPDX-License-Identifier: Apache-2.0
"""An interpreter that remembers: what one piece of code makes, the next one has."""
import asyncio

import boxlite


async def main() -> None:
    async with boxlite.CodeBox(memory_mib=512) as box:
        await box.run("import math\nradius = 2")
        result = await box.run("round(math.pi * radius ** 2, 2)")
        print(result.value)
        result = await box.run("unknown")
        print(result.exit_code, result.stderr.splitlines()[-1])


asyncio.run(main())

# Prints:
# 12.57
# 1 NameError: name 'unknown' is not defined
