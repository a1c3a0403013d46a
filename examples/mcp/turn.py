"""An AI agent's turn with a customer, by the official MCP client for Python (`pip install mcp`).

    python turn.py URL_OF_MCP [PROGRAM]

Without PROGRAM it calls over HTTP alone, in both ways of the protocol; with it, also through `PROGRAM mcp`. The server must
take callers without a credential.
"""

import asyncio
import re
import sys
import uuid

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

TOOLS = 11


async def call(client: Client, tool: str, **arguments: object) -> str:
    """Calls a tool that must succeed, and returns its text."""
    result = await client.call_tool(tool, arguments)
    text = "\n".join(block.text for block in result.content)
    if result.is_error:
        raise SystemExit(f"{tool}: {text}")
    return text


def id_after(words: str, text: str) -> str:
    """Returns the id that follows these words."""
    found = re.search(re.escape(words) + r" ?([0-9a-f-]{36})", text)
    if found is None:
        raise SystemExit(f"no id after {words!r} in: {text}")
    return found[1]


async def turn(client: Client) -> None:
    """Finds a customer, talks with it, and ends."""
    tools = (await client.list_tools()).tools
    assert len(tools) == TOOLS, [tool.name for tool in tools]
    name = f"Café {uuid.uuid4().hex[:8]}"
    saved = await call(client, "save_customer", business_name=name, status="lead")
    customer = re.search(r"`([a-z0-9-]+)`", saved)[1]
    assert customer in await call(client, "find_customers", query=name)
    conversation = id_after("Conversation", await call(client, "start_conversation", customer=customer, channel="web"))
    assert name in await call(client, "get_customer_context", customer=customer)
    said = {"conversation_id": conversation, "role": "user", "text": "When do you open?"}
    assert "Added as message 1" in await call(client, "add_message", **said)
    assert "Nothing was added" in await call(client, "add_message", **said)
    reply = {"conversation_id": conversation, "role": "assistant", "text": "At nine."}
    assert "Added as message 2" in await call(client, "add_message", **reply)
    await call(client, "record_faq", customer=customer, question="When do you open?", answer="At nine.")
    assert "At nine." in await call(client, "search_faqs", customer=customer, query="open")
    assert "nothing to ask" in await call(client, "next_questions", customer=customer)
    ended = await call(client, "end_conversation", conversation_id=conversation, outcome="resolved", summary="Hours.")
    assert "outcome resolved" in ended, ended
    read = await call(client, "read_conversation", conversation_id=conversation)
    assert read.index("When do you open?") < read.index("At nine."), read
    refused = await client.call_tool("add_message", said | {"text": "Thanks"})
    assert refused.is_error and "CONVERSATION_ENDED" in refused.content[0].text, refused
    refused = await client.call_tool("find_customers", {"qeury": "x"})
    assert refused.is_error and "did you mean query?" in refused.content[0].text, refused


async def main(url: str, program: str | None) -> None:
    tenant = str(uuid.uuid4())
    for mode in ("legacy", "auto"):
        async with httpx2.AsyncClient(headers={"x-tenant-id": tenant}) as http:
            async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                await turn(client)
                print(f"HTTP, {mode}: a whole turn, protocol {client.protocol_version}")
    if program is not None:
        arguments = ["mcp", "--url", url.removesuffix("/mcp"), "--tenant", tenant]
        for mode in ("legacy", "auto"):
            async with Client(StdioServerParameters(command=program, args=arguments), mode=mode) as client:
                await turn(client)
                print(f"standard streams, {mode}: a whole turn, protocol {client.protocol_version}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
