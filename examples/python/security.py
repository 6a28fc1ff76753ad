# SPDX-License-Identifier: Apache-2.0
"""The preset for code that nobody trusts, changed a little, and no network."""
import asyncio

import boxlite
from boxlite.boxlite import SecurityOptions


async def main() -> None:
    security = SecurityOptions.maximum()
    security.max_open_files = 2048
    security.network_enabled = False
    async with boxlite.SimpleBox(image="alpine:latest", memory_mib=512, security=security) as box:
        print((await box.exec("sh", "-c", "ulimit -n; ls /sys/class/net")).stdout, end="")
        print((await box.exec("mount", "-t", "tmpfs", "none", "/mnt")).exit_code != 0)


asyncio.run(main())

# Prints:
# 2048
# lo
# True
