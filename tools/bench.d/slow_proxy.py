"""Passes HTTP on, each request so many milliseconds later: slow_proxy.py PORT HOST PORT MILLISECONDS, on the loopback of the node."""

import asyncio
import sys

port, host, target, milliseconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


async def pass_on(reader, writer, seconds):
    try:
        while data := await reader.read(65536):
            await asyncio.sleep(seconds)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def serve(reader, writer):
    to_reader, to_writer = await asyncio.open_connection(host, target)
    await asyncio.gather(pass_on(reader, to_writer, milliseconds / 1000), pass_on(to_reader, writer, 0))


async def main():
    await (await asyncio.start_server(serve, "127.0.0.1", port)).serve_forever()


asyncio.run(main())
