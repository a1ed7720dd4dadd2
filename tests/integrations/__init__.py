"""The adapters for other people's frameworks, each beside its framework in an environment of its own.

`FRAMEWORK.txt` pins the environment, `contract_FRAMEWORK.py` is what runs in it.
"""
