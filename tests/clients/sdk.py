"""Official clients, sync and async, by one program: `async def use(client)` runs with either."""

import asyncio
import inspect

import openai
import pytest
from conftest import Way


async def maybe(value):
    """The value of a call, whether the client is sync or async."""
    return await value if inspect.isawaitable(value) else value


async def drain(stream) -> list:
    """Everything that a stream yields."""
    if hasattr(stream, "__aiter__"):
        return [item async for item in stream]
    return list(stream)


class opened:
    """`async with` for managers of either kind."""

    def __init__(self, manager):
        self.manager = manager

    async def __aenter__(self):
        if hasattr(self.manager, "__aenter__"):
            return await self.manager.__aenter__()
        return self.manager.__enter__()

    async def __aexit__(self, *error):
        if hasattr(self.manager, "__aexit__"):
            return await self.manager.__aexit__(*error)
        return self.manager.__exit__(*error)


def preparing(kind, base_url=lambda way: way.base_url):
    """Turns `async def use(client)` into a program for one way, with a client of its own of this kind."""

    def prepare(use, **options):
        def run(way: Way):
            async def main():
                client = kind(
                    **{
                        "base_url": base_url(way),
                        "api_key": way.key,
                        "default_headers": way.headers,
                        "max_retries": 0,
                    }
                    | options
                )
                try:
                    return await use(client)
                finally:
                    await maybe(client.close())

            return asyncio.run(main())

        return run

    return prepare


@pytest.fixture(params=[openai.OpenAI, openai.AsyncOpenAI], ids=["sync", "async"])
def program(request):
    return preparing(request.param)
