"""A realistic session: a support case with tool calls and a changing context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessions_client import Client, Session

METADATA = {
    "title": "Refund for order 4711",
    "device": "web",
    "customer": {"id": "c-118", "plan": "pro", "since": 2021},
    "tags": ["refund", "priority"],
}
CONTEXT = {
    "task": "refund",
    "step": "collect",
    "order": {
        "id": "4711",
        "currency": "EUR",
        "items": [
            {"title": "The Mill on the Floss", "qty": 1, "price": 49.9},
            {"title": "Silas Marner", "qty": 2, "price": 12.5},
        ],
    },
    "flags": {"vip": True, "fraud": None},
}
OTHERS = ["Trip to Lisbon", "Password reset", "Weekly report", "Search is slow", "Plan a birthday"]


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"id": call_id, "type": "function", "function": function}]}


def support_case(client: Client, session_id: str) -> Session:
    """Plays the conversation; the context changes at events 2, 8 and 12."""
    sessions = client.sessions
    sessions.create(
        user_id="u1",
        session_id=session_id,
        metadata=METADATA,
        config={"timeout": 3600, "max_messages": 2000},
        storage_options={"ttl": 7 * 86400},
    )
    sessions.set_context(session_id, context=CONTEXT)
    sessions.start(session_id)

    def say(role: str, content: str, **more: Any) -> None:
        sessions.add_message(session_id, role=role, content=content, **more)

    say("system", "You are the support agent of a bookshop. Look an order up before you promise anything.")
    say("user", "Hi, I want my money back for order 4711. The cover arrived torn.")
    look_up = call("call_1", "find_order", '{"order_id": "4711"}')
    say("assistant", "I am sorry about that. Let me look the order up.", data=look_up)
    say("tool", '{"id": "4711", "total": 74.9, "shipped": "2026-11-20"}', tool_call_id="call_1")
    sessions.update_context(
        session_id,
        changes=[
            {"path": "step", "set": "decide"},
            {"path": "order.total", "set": 74.9},
            {"path": "flags.fraud", "remove": True},
        ],
    )
    say("assistant", "Found it: 74.90 EUR, shipped on 20 November. I can refund the whole order.")
    say("user", "The refund, please.")
    refund = call("call_2", "refund", '{"order_id": "4711", "amount": 74.9}')
    say("assistant", "", data=refund, metadata={"model": "large", "tokens": 412})
    sessions.update_context(session_id, path="step", value="refund")
    say("tool", '{"status": "accepted"}', tool_call_id="call_2")
    say("assistant", "Done. The money should arrive within three days.\n\nIs there anything else?")
    return sessions.get(session_id)


def other_sessions(client: Client) -> None:
    """Sessions of several users in several states."""
    sessions = client.sessions
    for index, title in enumerate(OTHERS):
        made = sessions.create(user_id=f"u{index + 2}", metadata={"title": title, "age": 20 + index})
        if index % 2:
            sessions.start(made.id)
            sessions.add_message(made.id, role="user", content="Hello")
        if index == 3:
            sessions.pause(made.id)
