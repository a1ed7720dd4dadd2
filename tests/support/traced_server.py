"""The server's program with a tracer provider that writes each span to a file as a line of JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from sessions_server.__main__ import main

VARIABLE: Final = "TRACED_SPANS"
"""The variable that names the file."""

if __name__ == "__main__":
    with Path(os.environ[VARIABLE]).open("w", buffering=1, encoding="utf-8") as spans:
        exporter = ConsoleSpanExporter(out=spans, formatter=lambda span: span.to_json(indent=None) + "\n")
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        main()
