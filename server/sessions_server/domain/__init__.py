"""What a session is and what may happen to it: pure values and functions, no input or output, nothing awaited."""
