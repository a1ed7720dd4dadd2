"""The session service as the store of agent frameworks: one module for each, imported only with its extra.

| Module | Framework | Extra |
|---|---|---|
| `openai_agents` | OpenAI Agents SDK | `openai-agents` |
| `google_adk` | Google ADK | `google-adk` |
| `agent_framework` | Microsoft Agent Framework | `agent-framework` |
| `langgraph` | LangGraph checkpoints and stores | `langgraph` |
| `mcp` | Model Context Protocol | `mcp` |
| `pydantic_ai` | pydantic-ai conversations | `pydantic-ai` |

Each stores the framework's own form byte for byte, along with what other programs need to read the conversation.
`session_id_of` returns the id of the session for a framework's conversation or thread id.
"""

from __future__ import annotations

from sessions_client.integrations._ids import session_id_of

__all__ = ["session_id_of"]
